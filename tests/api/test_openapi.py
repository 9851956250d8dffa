"""The OpenAPI document is valid, committed, and consistent with its examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.api.problem_mapping import status_of
from app.errors import TYPE_PREFIX, by_code
from tests.support.openapi_contract import PROBLEM, document, operations, resolve, validator

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "openapi" / "openapi.json"

Json = dict[str, Any]

every_operation = pytest.mark.parametrize(
    "operation",
    [pytest.param(operation, id=operation["operationId"]) for _method, _path, operation in operations()],
)


def test_the_document_is_valid_openapi_3_1() -> None:
    assert document()["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document()).iter_errors()] == []


def test_the_committed_document_matches_the_program() -> None:
    assert json.loads(PAPER.read_text(encoding="utf-8")) == document(), "run scripts/openapi"


def test_every_operation_id_is_unique() -> None:
    names = [operation["operationId"] for _method, _path, operation in operations()]
    assert len(names) == len(set(names))
    assert all(name.isidentifier() and name.islower() for name in names)


@every_operation
def test_every_operation_has_a_description(operation: Json) -> None:
    assert operation["description"]
    assert operation["tags"]


@every_operation
def test_every_request_body_has_an_example_that_its_schema_accepts(operation: Json) -> None:
    for media in operation.get("requestBody", {}).get("content", {}).values():
        assert media["examples"]
        schema = media["schema"]["$ref"]
        for example in media["examples"].values():
            assert [e.message for e in validator(schema, closed=False).iter_errors(example["value"])] == []


@every_operation
def test_every_problem_has_a_valid_example(operation: Json) -> None:
    for status, response in operation["responses"].items():
        if not status.startswith(("4", "5")):
            continue
        media = response["content"][PROBLEM]
        assert set(response["content"]) == {PROBLEM}
        assert media["examples"]
        for code, example in media["examples"].items():
            problem = example["value"]
            assert list(validator(media["schema"]["$ref"], closed=False).iter_errors(problem)) == []
            assert problem["type"] == TYPE_PREFIX + code
            assert str(problem["status"]) == status == str(status_of(by_code()[code]))


@every_operation
def test_every_successful_response_has_a_named_schema(operation: Json) -> None:
    for status, response in operation["responses"].items():
        for media_type, media in response.get("content", {}).items():
            if status.startswith("2") and media_type == "application/json":
                assert "$ref" in media["schema"]


@every_operation
def test_every_response_documents_its_headers(operation: Json) -> None:
    prefers = any(each["name"] == "Prefer" for each in operation.get("parameters", ()))
    for status, response in operation["responses"].items():
        headers = response.get("headers", {})
        if status in {"202", "429", "503"}:
            assert "Retry-After" in headers
        if status.startswith("2") and prefers:
            assert "Preference-Applied" in headers
        if status == "200" and operation["operationId"].startswith("list_"):
            assert "Link" in headers
    created = {"get_list", "get_index", "get_entry", "create_list", "update_list", "refresh_list"}
    if operation["operationId"] in created:
        success = "201" if operation["operationId"] == "create_list" else "200"
        assert "ETag" in operation["responses"][success]["headers"]
    if operation["operationId"] == "create_list":
        assert "Location" in operation["responses"]["201"]["headers"]


def test_a_patch_is_a_merge_patch() -> None:
    for method, path, operation in operations():
        if method == "patch":
            content = operation["requestBody"]["content"]
            assert set(content) == {"application/json", "application/merge-patch+json"}, path


@every_operation
def test_every_operation_of_v1_needs_a_bearer_token(operation: Json) -> None:
    security = operation.get("security", [])
    # The operator decides whether the metrics need a token, so both are documented.
    is_required = bool(security) and {} not in security
    assert is_required == (operation["tags"] != ["health"])
    assert ("401" in operation["responses"]) == bool(security)


def test_every_schema_has_a_title() -> None:
    """Generators invent names for inline objects and enumerations, and those names read badly."""
    nameless = [
        f"{name}{pointer}"
        for name, schema in document()["components"]["schemas"].items()
        for pointer, part in _walk(schema)
        if pointer and ("enum" in part or part.get("type") == "object")
    ]
    for _method, path, operation in operations():
        for parameter in operation.get("parameters", ()):
            nameless += [
                f"{path} {parameter['name']}{pointer}"
                for pointer, part in _walk(parameter["schema"])
                if "enum" in part or part.get("type") == "object"
            ]
    assert nameless == []


def test_every_schema_is_used() -> None:
    used = set(_references(document()))
    assert {f"#/components/schemas/{name}" for name in document()["components"]["schemas"]} == used


def test_every_schema_declares_its_members_and_which_are_required() -> None:
    for name, schema in document()["components"]["schemas"].items():
        if "properties" in schema:
            assert schema["type"] == "object", name
            assert resolve(schema)["title"], name


def _walk(part: Any, pointer: str = "") -> Iterator[tuple[str, Json]]:
    if isinstance(part, dict):
        yield pointer, part
        for key, value in part.items():
            if key not in ("examples", "example", "default"):
                yield from _walk(value, f"{pointer}/{key}")
    elif isinstance(part, list):
        for position, value in enumerate(part):
            yield from _walk(value, f"{pointer}/{position}")


def _references(part: Any) -> Iterator[str]:
    for _pointer, each in _walk(part):
        if isinstance(each.get("$ref"), str):
            yield each["$ref"]
