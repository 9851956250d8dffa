"""A request with several mistakes gets all that can be known at once, each with its place and its code."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.support.broker import Broker, check_problem

Json = dict[str, Any]
NOWHERE = "registry.invalid"
GOOD = f"{NOWHERE}/a:1"
DIGEST = "sha256:" + "a" * 64
LIST = f"/v1/lists/{UUID(int=0)}"


@pytest.fixture
def broker(shared_broker: Broker) -> Broker:
    """Rejected requests change nothing, so all tests share one broker."""
    return shared_broker


def codes(document: Json) -> dict[str, str]:
    return {each["pointer"]: each["code"].removeprefix("invalid-") for each in document["errors"]}


BODIES: list[tuple[str, str, Json, dict[str, str]]] = [
    # The situation of the report, and its neighbours.
    (
        "POST",
        "/v1/lists",
        {"reference": "Host.example/Team/App:1", "ammend": True, "sources": [{}]},
        {"/reference": "reference", "/ammend": "input", "/sources/0/reference": "input"},
    ),
    (
        "POST",
        f"{LIST}/entries",
        {"sources": [], "insecure": 1, "insecur": True},
        {"/sources": "input", "/insecure": "input", "/insecur": "input"},
    ),
    (
        "POST",
        "/v1/lists",
        {
            "reference": f"{NOWHERE}/Team/App:1",
            "ammend": True,
            "sources": [
                "Bad",
                GOOD,
                {"reference": "a b", "platform": "linux", "platforms": ["linux/amd64", "x"]},
                7,
            ],
            "tags": ["ok", "a b", "c d", 1],
            "failures": {"linux": "no", "linux/arm64": 1},
            "targets": ["NOT OK"],
            "expected_platforms": ["linux/amd46", "linux/amd64", {"os": "linux", "arch": "x"}],
            "annotations": {"a/b": "x\u0000", "c": 1},
            "labels": {"a": 1},
            "expires_in": 0,
            "format": "helm",
        },
        {
            "/reference": "reference",
            "/ammend": "input",
            "/sources/0": "reference",
            "/sources/2/reference": "reference",
            "/sources/2/platform": "platform",
            "/sources/2/platforms/1": "platform",
            "/sources/3": "input",
            "/tags/1": "reference",
            "/tags/2": "reference",
            "/tags/3": "input",
            "/failures/linux": "platform",
            "/failures/linux~1arm64": "input",
            "/targets/0": "reference",
            "/expected_platforms/0": "unsupported-platform",
            "/expected_platforms/2/arch": "input",
            "/annotations/a~1b": "annotation",
            "/annotations/c": "input",
            "/labels/a": "input",
            "/expires_in": "input",
            "/format": "input",
        },
    ),
    (
        "POST",
        "/v1/lists",
        {"reference": "A", "push_when_complete": True, "format": "docker", "artifact_type": "x"},
        {
            "/reference": "reference",
            "/push_when_complete": "input",
            "/format": "input",
            "/artifact_type": "input",
        },
    ),
    (
        "POST",
        "/v1/lists",
        {"reference": GOOD, "push_when_complete": True, "expected_platforms": ["x"], "session": "a b"},
        {"/expected_platforms/0": "platform", "/session": "input"},
    ),
    (
        "PATCH",
        LIST,
        {"tags": ["a b"], "subject": {"mediaType": "a/b", "digest": "x", "size": 1}, "reference": "a"},
        {"/tags/0": "reference", "/subject": "input", "/reference": "input"},
    ),
    (
        "PATCH",
        f"{LIST}/entries/{UUID(int=0)}",
        {"platform": "linux", "annotations": {"a": "\u0007\u0000", "b": None}, "variant": "v8"},
        {"/platform": "platform", "/annotations/a": "annotation", "/variant": "input"},
    ),
    (
        "POST",
        f"{LIST}/push",
        {"targets": ["Bad", GOOD, "a b"], "if_digest": "sha256:x", "if_absent": True, "purge": 1},
        {
            "/targets/0": "reference",
            "/targets/2": "reference",
            "/if_digest": "digest",
            "/if_absent": "input",
            "/purge": "input",
        },
    ),
    (
        "POST",
        f"/v1/pushes/{UUID(int=0)}/restore",
        {"if_digest": "x", "insecure": "no"},
        {"/if_digest": "digest", "/insecure": "input"},
    ),
    (
        "POST",
        "/v1/inspections",
        {"references": ["Bad", {"reference": "a b", "verbose": 1}, GOOD], "raw": True},
        {
            "/references/0": "reference",
            "/references/1/reference": "reference",
            "/references/1/verbose": "input",
            "/raw": "input",
        },
    ),
    (
        "POST",
        "/v1/webhooks",
        {"url": "ftp://x", "secret": "short", "types": ["list.created", "nothing"], "name": "a"},
        {"/url": "receiver", "/secret": "secret", "/types/1": "input", "/name": "input"},
    ),
    (
        "PATCH",
        f"/v1/webhooks/{UUID(int=0)}",
        {"url": None, "enabled": "yes"},
        {"/url": "input", "/enabled": "input"},
    ),
    (
        "POST",
        f"/v1/webhooks/{UUID(int=0)}/replay",
        {"states": ["pending"], "since": "yesterday", "limit": 1},
        {"/states": "input", "/since": "input", "/limit": "input"},
    ),
    (
        "POST",
        "/v1/tokens",
        {"name": "A B", "project": "", "admin": 1},
        {"/name": "input", "/project": "input", "/admin": "input"},
    ),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    BODIES,
    ids=[f"{m} {p.split('/')[-1]} {i}" for i, (m, p, _, _) in enumerate(BODIES)],
)
async def test_all_mistakes_of_a_body_are_named_at_once(
    broker: Broker, method: str, path: str, body: Json, expected: dict[str, str]
) -> None:
    reply = await broker.client.request(method, path, json=body)
    document = check_problem(reply, 422, "invalid-input")
    assert codes(document) == expected
    assert f"The member errors has {len(expected) - 1} more." in document["detail"]


QUERIES = [
    (
        "/v1/lists",
        "limit=0&cursor=x&reference=Bad&label=a&label=b&state=no&since=now&refrence=a",
        {
            "query:refrence": "input",
            "query:reference": "reference",
            "query:state": "input",
            "query:label": "input",
            "query:since": "input",
            "query:limit": "input",
            "query:cursor": "cursor",
        },
    ),
    (
        "/v1/inspect",
        "source=x&verbose=2",
        {"query:reference": "input", "query:source": "input", "query:verbose": "input"},
    ),
    (
        "/v1/events/history",
        "type=x&cursor=x&list_id=1",
        {"query:type": "input", "query:cursor": "cursor", "query:list_id": "input"},
    ),
    ("/v1/operations/x", "wait=1", {"query:wait": "input", "path:operation_id": "input"}),
]


@pytest.mark.parametrize(("path", "query", "expected"), QUERIES, ids=[each[0] for each in QUERIES])
async def test_all_mistakes_of_a_query_are_named_at_once(
    broker: Broker, path: str, query: str, expected: dict[str, str]
) -> None:
    document = check_problem(await broker.client.get(f"{path}?{query}"), 422, "invalid-input")
    assert codes(document) == expected


async def test_mistakes_in_the_path_the_query_headers_and_the_body_are_named_at_once(broker: Broker) -> None:
    headers = {"Idempotency-Key": "x" * 256, "X-Registry-Auth": "not base64!", "If-Match": "3"}
    body = {"sources": ["Bad"], "insecur": True}
    reply = await broker.client.post("/v1/lists/x/entries?dry_run=1", json=body, headers=headers)
    assert codes(check_problem(reply, 422, "invalid-input")) == {
        "query:dry_run": "input",
        "header:X-Registry-Auth": "header",
        "header:Idempotency-Key": "header",
        "header:If-Match": "header",
        "path:list_id": "input",
        "/sources/0": "reference",
        "/insecur": "input",
    }


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b'{"sources": [', "expecting value at character 13."), (b"{sources: []}", "expecting property name")],
)
async def test_a_body_that_is_not_json_is_named_beside_unknown_query_parameters(
    broker: Broker, body: bytes, reason: str
) -> None:
    headers = {"Content-Type": "application/json"}
    reply = await broker.client.post(f"{LIST}/entries?dry_run=1&b=2", content=body, headers=headers)
    document = check_problem(reply, 400, "malformed-body")
    assert document["detail"].startswith(f"The body is not valid JSON: {reason}")
    assert codes(document) == {"": "malformed-body", "query:dry_run": "input", "query:b": "input"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"reference": "A", "sources": ["B", {"reference": "C"}], "tags": ["a b"]}, "invalid-reference"),
        (
            {"reference": "a", "sources": [{"reference": "a", "platform": "x", "platforms": ["y"]}]},
            "invalid-platform",
        ),
        (
            {
                "reference": "a",
                "annotations": {"k" * 256: ""},
                "sources": [{"reference": "a", "annotations": {"": ""}}],
            },
            "invalid-input",
        ),
    ],
)
async def test_mistakes_of_one_kind_keep_its_code(broker: Broker, body: Json, code: str) -> None:
    document = check_problem(await broker.client.post("/v1/lists", json=body), 422, code)
    assert len(document["errors"]) >= 2


async def test_headers_that_are_wrong_alone_keep_their_code(broker: Broker) -> None:
    headers = {"Idempotency-Key": "", "X-Registry-Auth": "W10="}
    reply = await broker.client.post("/v1/lists", json={"reference": GOOD}, headers=headers)
    document = check_problem(reply, 422, "invalid-header")
    assert {each["pointer"] for each in document["errors"]} == {
        "header:Idempotency-Key",
        "header:X-Registry-Auth",
    }


async def test_a_single_mistake_is_answered_as_before(broker: Broker) -> None:
    reply = await broker.client.post("/v1/lists", json={"reference": "Foo"})
    detail = "invalid reference format: repository name (library/Foo) must be lowercase"
    assert check_problem(reply, 422, "invalid-reference") == {
        "type": "urn:manifest-broker:problem:invalid-reference",
        "title": "The image reference is not valid.",
        "status": 422,
        "instance": "/v1/lists",
        "detail": detail,
        "reference": "Foo",
        "errors": [{"pointer": "/reference", "detail": detail}],
    }


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({"sources": [7]}, "/sources/0", "Send a string or a JSON object."),
        ({"sources": [None]}, "/sources/0", "Send a string or a JSON object."),
        ({"expected_platforms": [[]]}, "/expected_platforms/0", "Send a string or a JSON object."),
        ({"sources": ["x" * 5000]}, "/sources/0", "The text must have at most 4096 characters."),
        ({"insecure": 1}, "/insecure", "Send true or false."),
        ({"expires_in": "60"}, "/expires_in", "Send a whole number."),
        ({"tags": "a"}, "/tags", "Send an array."),
    ],
)
async def test_a_value_of_another_type_is_one_mistake(
    broker: Broker, body: Json, pointer: str, detail: str
) -> None:
    document = check_problem(await broker.client.post("/v1/lists", json={"reference": GOOD, **body}), 422)
    assert document["errors"] == [{"pointer": pointer, "detail": detail}]


@pytest.mark.parametrize("moment", ["yesterday", "2026-07-01", "2026-07-01T12:00:00", "2026-13-01T00:00:00Z"])
async def test_a_time_that_can_not_be_read_is_answered_with_one_that_can(broker: Broker, moment: str) -> None:
    reply = await broker.client.get("/v1/lists", params={"since": moment})
    detail = "Send a time with an offset, such as 2026-07-01T12:00:00Z."
    assert check_problem(reply, 422)["errors"] == [{"pointer": "query:since", "detail": detail}]


async def test_all_forbidden_registries_are_named_at_once(start_broker: Any) -> None:
    broker = await start_broker(worker=False, registries="allowed.example")
    body = {"reference": GOOD, "targets": ["allowed.example/a:1", f"{NOWHERE}/b:1", f"{NOWHERE}/c:1"]}
    document = check_problem(await broker.client.post("/v1/lists", json=body), 403, "registry-forbidden")
    assert [each["pointer"] for each in document["errors"]] == ["/reference", "/targets/1", "/targets/2"]
