"""Checks the answers that tests get against the OpenAPI document."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import httpx2
from openapi_schema_validator import OAS31Validator

from app.cli.openapi import openapi_document

Json = dict[str, Any]
PROBLEM = "application/problem+json"
# These may have unknown members; all other schemas are complete.
OPEN = {"Descriptor", "JsonObject", "OciPlatform", "Problem", "ProblemField", "RawManifest"}
HEADERS = ("ETag", "Link", "Location", "Preference-Applied", "Retry-After", "Docker-Content-Digest")
METHODS = ("get", "put", "post", "patch", "delete")


@cache
def document() -> Json:
    return openapi_document()


def operations() -> Iterator[tuple[str, str, Json]]:
    """Method, path template and operation of each."""
    for path, item in document()["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def resolve(part: Json) -> Json:
    """What a reference within the document refers to."""
    while "$ref" in part:
        found: Any = document()
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def find_operation(method: str, path: str) -> Json | None:
    """The operation that answers; literal paths go before those with parameters."""
    for template in sorted(document()["paths"], key=lambda each: each.count("{")):
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path):
            found: Json | None = document()["paths"][template].get(method.lower())
            return found
    return None


def check(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Fails when the document does not announce this answer."""
    operation = find_operation(method, path)
    if operation is None:
        return
    where = f"{method} {path} -> {status}"
    assert str(status) in operation["responses"], f"{where} is not documented: {body.decode()}"
    announced = operation["responses"][str(status)].get("headers", {})
    missing = [name for name in HEADERS if name in headers and name not in announced]
    assert not missing, f"{where}: {missing} are not documented"
    content = operation["responses"][str(status)].get("content", {})
    media_type = headers.get("Content-Type", "").partition(";")[0]
    if not content:
        assert not body, f"{where} has a body that is not documented"
        return
    assert media_type in content or "*/*" in content, f"{where}: {media_type} is not documented"
    if media_type not in {"application/json", PROBLEM}:
        return
    answered = json.loads(body)
    errors = list(validator(content[media_type]["schema"]["$ref"]).iter_errors(answered))
    assert not errors, f"{where}: {[(error.json_path, error.message) for error in errors]}"
    if media_type == PROBLEM:
        code = answered["type"].rpartition(":")[2]
        assert code in content[PROBLEM]["examples"], f"{where}: the problem {code} is not documented"


@cache
def validator(reference: str, *, closed: bool = True) -> OAS31Validator:
    schemas = copy.deepcopy(document()["components"]["schemas"])
    for name, schema in schemas.items():
        if closed and name not in OPEN and schema.get("additionalProperties") is True:
            schema["additionalProperties"] = False
    return OAS31Validator({"$ref": reference, "components": {"schemas": schemas}})


async def check_response(response: httpx2.Response) -> None:
    """For a client's event hooks."""
    if response.headers.get("Content-Type", "").startswith("text/event-stream"):
        return
    body = await response.aread()
    if response.request.url.path.startswith(("/openapi.json", "/docs")):
        return
    request = response.request
    check(request.method, request.url.path, response.status_code, response.headers, body)
