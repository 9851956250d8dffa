"""Invalid requests get problem documents that name the field, never a 500."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.pagination import encode_cursor
from tests.support.broker import Broker, StartBroker, check_problem, registry_auth
from tests.support.images import make_image, seed
from tests.support.openapi_contract import document as api
from tests.support.openapi_contract import operations
from tests.support.registry import (
    RegistryDouble,
)

Json = dict[str, Any]
NOWHERE = "registry.invalid"
DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def broker(shared_broker: Broker) -> Broker:
    """Rejected requests change nothing, so all tests share one broker."""
    return shared_broker


def pointers(document: Json) -> list[str]:
    return [error["pointer"] for error in document["errors"]]


# --- references and bodies ---

REFERENCES = {
    "": "invalid reference format",
    "Foo": "repository name (library/Foo) must be lowercase",
    "a b": "invalid reference format",
    "http://host/name": "invalid reference format",
    "name@sha256:abc": "invalid",
    f"name@md5:{'a' * 32}": "unsupported digest algorithm",
    "name:tag\n": "invalid reference format",
    "a" * 64: "cannot specify 64-byte hexadecimal strings",
    "host.example/" + "a" * 300: "must not be more than 255 characters",
    "host.example/é": "invalid reference format",
    "../../etc/passwd": "invalid reference format",
}


@pytest.mark.parametrize("text", REFERENCES)
async def test_a_malformed_reference_is_reported_with_its_location(broker: Broker, text: str) -> None:
    good = f"{NOWHERE}/a:1"
    bodies: list[tuple[str, str, Json]] = [
        ("/v1/lists", "/reference", {"reference": text, "sources": [good]}),
        ("/v1/lists", "/sources/1", {"reference": good, "sources": [good, text]}),
        ("/v1/lists", "/sources/0/reference", {"reference": good, "sources": [{"reference": text}]}),
        ("/v1/lists", "/targets/0", {"reference": good, "sources": [], "targets": [text]}),
        ("/v1/inspections", "/references/0", {"references": [text]}),
    ]
    for path, pointer, body in bodies:
        reply = await broker.client.post(path, json=body)
        document = check_problem(reply, 422, "invalid-reference")
        assert pointers(document) == [pointer]
        assert REFERENCES[text] in document["detail"]
    for query in (f"/v1/inspect?reference={quote(text)}", f"/v1/lists?reference={quote(text)}"):
        reply = await broker.client.get(query)
        assert pointers(check_problem(reply, 422, "invalid-reference")) == ["query:reference"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[",
        b"nonsense",
        b'{"reference": }',
        b"\xff\xfe",
        b'{"reference": "a", }',
        b"{'a': 1}",
        b"\x00",
    ],
)
async def test_a_body_that_is_not_json_is_a_400(broker: Broker, body: bytes) -> None:
    reply = await broker.client.post("/v1/lists", content=body, headers={"Content-Type": "application/json"})
    status = 422 if not body else 400
    check_problem(reply, status, "invalid-input" if not body else "malformed-body")


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"true", b"1e400", b"NaN", b"{}"])
async def test_json_of_the_wrong_type_is_a_422(broker: Broker, body: bytes) -> None:
    reply = await broker.client.post("/v1/lists", content=body, headers={"Content-Type": "application/json"})
    assert check_problem(reply, 422, "invalid-input")["errors"]


async def test_excessive_nesting_is_rejected(broker: Broker) -> None:
    for body in (b"[" * 100_000, b'{"a":' * 100_000):
        reply = await broker.client.post(
            "/v1/lists", content=body, headers={"Content-Type": "application/json"}
        )
        check_problem(reply, 400, "malformed-body")


async def test_a_body_that_is_too_large_is_rejected(start_broker: StartBroker) -> None:
    broker = await start_broker(max_body_bytes=2048)
    body = json.dumps({"reference": "a", "labels": {"x": "y" * 4000}}).encode()

    async def in_pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 100):
            yield body[at : at + 100]

    contents: list[Any] = [body, in_pieces()]
    for content in contents:
        reply = await broker.client.post(
            "/v1/lists", content=content, headers={"Content-Type": "application/json"}
        )
        check_problem(reply, 413, "body-too-large")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {},
    ],
)
async def test_a_body_that_is_not_json_by_its_media_type_is_rejected(
    broker: Broker, headers: dict[str, str]
) -> None:
    reply = await broker.client.post("/v1/lists", content=b'{"reference": "a"}', headers=headers)
    assert "JSON" in check_problem(reply, 415, "unsupported-body")["detail"] or "Encoding" in reply.text


WRONG_MEMBERS: list[tuple[Json, str]] = [
    ({"sources": "a"}, "/sources"),
    ({"sources": [1]}, "/sources/0"),
    ({"sources": [{"reference": "a", "platfrom": "linux/amd64"}]}, "/sources/0/platfrom"),
    ({"sources": ["a"] * 257}, "/sources"),
    ({"amend": "yes"}, "/amend"),
    ({"amend": 1}, "/amend"),
    ({"ammend": True}, "/ammend"),
    ({"session": "a b"}, "/session"),
    ({"session": "x" * 256}, "/session"),
    ({"format": "helm"}, "/format"),
    ({"labels": {"a": 1}}, "/labels/a"),
    ({"labels": {"a": "b\0"}}, "/labels/a"),
    ({"labels": {str(i): "" for i in range(65)}}, "/labels"),
    ({"expires_in": 0}, "/expires_in"),
    ({"expires_in": 10**12}, "/expires_in"),
    ({"expires_in": "60"}, "/expires_in"),
    ({"tags": ["ok", "a b"]}, "/tags/1"),
    ({"tags": ["x" * 129]}, "/tags/0"),
    ({"targets": [f"{NOWHERE}/ok:1", "NOT OK"]}, "/targets/1"),
    ({"expected_platforms": ["linux/amd64", "linux/arm64", "x/y"]}, "/expected_platforms/2"),
    ({"failures": {"linux/x86-64/v1/x": "no"}}, "/failures/linux~1x86-64~1v1~1x"),
    ({"annotations": {"": "x"}}, "/annotations"),
    ({"annotations": {"a": {}}}, "/annotations/a"),
    ({"subject": {"mediaType": "a/b", "digest": "sha256:x", "size": 1}}, "/subject"),
    ({"subject": {"mediaType": "a/b", "digest": DIGEST, "size": -1}}, "/subject/size"),
    ({"push_when_complete": True}, "/push_when_complete"),
    ({"format": "docker", "annotations": {"a": "b"}}, "/format"),
    ({"reference": ["a"]}, "/reference"),
    ({"reference": "x" * 5000}, "/reference"),
]


@pytest.mark.parametrize(("members", "pointer"), WRONG_MEMBERS, ids=[str(m)[:40] for m, _ in WRONG_MEMBERS])
async def test_an_invalid_member_is_reported_with_its_pointer(
    broker: Broker, members: Json, pointer: str
) -> None:
    reply = await broker.client.post("/v1/lists", json={"reference": f"{NOWHERE}/a:1", **members})
    document = check_problem(reply, 422)
    assert pointers(document)[0].startswith(pointer), document
    assert (await broker.call("GET", "/v1/operations"))["items"] == []


REASONS = [
    (b'{"reference": "a", "ammend": true}', 'Unknown member "ammend".'),
    (b"{}", 'The member "reference" is missing.'),
    (b"[]", "Send a JSON object."),
    (b"null", "Send a JSON object."),
    (b"", "Send a JSON object."),
    (b'{"reference": "a\xff"}', "byte 16 is not UTF-8"),
    (b'{"reference": ' + b"1" * 5000 + b"}", "too many digits"),
    (b"[" * 100_000, "nested too deep"),
    (b'{"reference": "a\\u0000"}', "/reference: The text must not contain U+0000."),
]


@pytest.mark.parametrize(("body", "reason"), REASONS, ids=[str(body[:24]) for body, _ in REASONS])
async def test_the_reason_is_worded_for_callers(broker: Broker, body: bytes, reason: str) -> None:
    reply = await broker.client.post("/v1/lists", content=body, headers={"Content-Type": "application/json"})
    detail = reply.json()["detail"]
    assert reply.status_code in {400, 422}
    assert reason in detail
    assert "Value error" not in reply.text
    assert "Input should" not in reply.text


async def test_an_invalid_id_is_reported_with_its_value(broker: Broker) -> None:
    document = check_problem(await broker.client.get("/v1/lists/nothing"), 422, "invalid-input")
    assert pointers(document) == ["path:list_id"]
    assert document["detail"] == 'path:list_id: The id "nothing" is not a UUID.'


PLATFORMS: list[object] = [
    "",
    "linux",
    "linux/",
    "/amd64",
    "linux/amd64/v1/x",
    "linux/am d64",
    "linux/amd64\n",
    "linux/\0",
    {"os": 1},
    {"os": "linux", "arch": "amd64"},
    {"os_features": "win32k"},
    {"os_features": ["a\0"]},
    ["linux", "amd64"],
    1,
    "x" * 300,
]


@pytest.mark.parametrize("platform", PLATFORMS, ids=[repr(each)[:30] for each in PLATFORMS])
async def test_a_malformed_platform_is_reported_with_its_location(broker: Broker, platform: object) -> None:
    good = f"{NOWHERE}/a:1"
    for pointer, body in (
        ("/sources/0", {"sources": [{"reference": good, "platform": platform}]}),
        ("/sources/0", {"sources": [{"reference": good, "platforms": [platform]}]}),
        ("/expected_platforms", {"expected_platforms": [platform]}),
    ):
        reply = await broker.client.post("/v1/lists", json={"reference": good, **body})
        assert pointers(check_problem(reply, 422))[0].startswith(pointer), reply.text


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha256:ABC", "md5:" + "a" * 32, DIGEST + "\n", "sha256:é"]
)
async def test_a_malformed_digest_is_reported_with_its_pointer(
    broker: Broker, registry: RegistryDouble, digest: str
) -> None:
    await seed(registry, "a", "1", make_image())
    draft = await broker.create(f"{registry.host}/list:1", f"{registry.host}/a:1")
    reply = await broker.client.post(f"/v1/lists/{draft['id']}/push", json={"if_digest": digest})
    assert pointers(check_problem(reply, 422, "invalid-digest")) == ["/if_digest"]


async def test_contradictory_push_conditions_are_rejected(broker: Broker) -> None:
    body = {"if_absent": True, "if_digest": DIGEST}
    reply = await broker.client.post(f"/v1/lists/{uuid4()}/push", json=body)
    assert pointers(check_problem(reply, 422, "invalid-input")) == ["/if_absent"]


# A time without an offset.
NAIVE = encode_cursor((datetime(2026, 1, 1), UUID(int=0)))  # noqa: DTZ001


@pytest.mark.parametrize(
    "cursor", ["x", "W10", "bnVsbA", "WyJhIiwiYiJd", "%00", "é", "a" * 600, "e30", "WzEsMl0", NAIVE]
)
async def test_a_malformed_cursor_is_rejected(broker: Broker, cursor: str) -> None:
    for path in ("/v1/lists", "/v1/pushes", "/v1/operations"):
        reply = await broker.client.get(path, params={"cursor": cursor})
        assert pointers(check_problem(reply, 422)) == ["query:cursor"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "query:limit"),
        ("limit=201", "query:limit"),
        ("limit=x", "query:limit"),
        ("limit=1.5", "query:limit"),
        ("state=bogus", "query:state"),
        ("label=novalue", "query:label"),
        ("label=%3Dx", "query:label"),
        ("label=a%3D%00", "query:label"),
    ],
)
async def test_an_invalid_query_parameter_is_reported_by_name(
    broker: Broker, query: str, pointer: str
) -> None:
    reply = await broker.client.get(f"/v1/lists?{query}")
    assert pointers(check_problem(reply, 422, "invalid-input"))[0].startswith(pointer)


@pytest.mark.parametrize("name", ["reference", "registry", "repository", "session"])
async def test_a_nul_in_a_filter_is_rejected_or_matches_nothing(broker: Broker, name: str) -> None:
    for path in ("/v1/lists", "/v1/pushes"):
        reply = await broker.client.get(path, params={name: "a\0b"})
        assert pointers(check_problem(reply, 422)) == [f"query:{name}"]


async def test_a_nul_in_the_session_of_an_inspection_is_rejected(broker: Broker) -> None:
    reply = await broker.client.get("/v1/inspect", params={"reference": "a", "session": "\0"})
    assert pointers(check_problem(reply, 422)) == ["query:session"]


@pytest.mark.parametrize("identity", ["x", "1", "00000000", "%00", "..%2f..", "{}", "é"])
async def test_a_malformed_id_in_a_path_is_a_422_with_the_parameter_name(
    broker: Broker, identity: str
) -> None:
    for resource, name in (("lists", "list_id"), ("operations", "operation_id"), ("pushes", "push_id")):
        reply = await broker.client.get(f"/v1/{resource}/{quote(identity, safe='%')}")
        if reply.status_code != 404:
            assert pointers(check_problem(reply, 422)) == [f"path:{name}"]


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer x", "Basic YTpi", "bearer", "Token x", "Bearer " + "x" * 5000],
)
async def test_a_wrong_token_is_a_401_with_the_scheme_to_use(
    broker: Broker, authorization: str | None
) -> None:
    headers = {"Authorization": authorization} if authorization is not None else {}
    async with broker.client_with(None) as client:
        reply = await client.get("/v1/lists", headers=headers)
    check_problem(reply, 401, "unauthenticated")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


HEADERS = [
    ("Idempotency-Key", ""),
    ("Idempotency-Key", "x" * 256),
    ("X-Registry-Auth", "not base64!"),
    ("X-Registry-Auth", "W10="),
    ("X-Registry-Auth", "x" * 20_000),
    ("X-Registry-Auth", registry_auth({"username": "a", "password": "b", "serveraddress": "a b"})),
    ("X-Registry-Auth", registry_auth({"registrytoken": "a\nb", "serveraddress": NOWHERE})),
    ("X-Registry-Auth", registry_auth({"identitytoken": "a\nb", "serveraddress": NOWHERE})),
]


@pytest.mark.parametrize(("name", "value"), HEADERS, ids=[f"{n}-{v[:20]}" for n, v in HEADERS])
async def test_a_malformed_header_is_reported_by_name(broker: Broker, name: str, value: str) -> None:
    body = {"reference": f"{NOWHERE}/a:1", "sources": [f"{NOWHERE}/b:1"]}
    reply = await broker.client.post("/v1/lists", json=body, headers={name: value})
    assert pointers(check_problem(reply, 422, "invalid-header")) == [f"header:{name}"]


@pytest.mark.parametrize("value", ["3", '"', "x", '"a" "b"', "", '"3", x', 'x, "3"'])
async def test_a_malformed_if_match_is_reported_by_name(broker: Broker, value: str) -> None:
    reply = await broker.client.delete(f"/v1/lists/{uuid4()}", headers={"If-Match": value})
    assert pointers(check_problem(reply, 422, "invalid-header")) == ["header:If-Match"]


async def test_a_malformed_last_event_id_is_reported_by_name(broker: Broker) -> None:
    for value in ("x", "-1", "1" * 30, "1.0"):
        reply = await broker.client.get(f"/v1/operations/{uuid4()}/events", headers={"Last-Event-ID": value})
        assert pointers(check_problem(reply, 422, "invalid-header")) == ["header:Last-Event-ID"]


async def test_unknown_paths_and_methods_are_problem_documents(broker: Broker) -> None:
    check_problem(await broker.client.get("/v1/nothing"), 404, "not-found")
    check_problem(await broker.client.get("/"), 404, "not-found")
    reply = await broker.client.put("/v1/lists", json={})
    check_problem(reply, 405)
    assert reply.headers["Allow"] == "GET, HEAD, POST"
    reply = await broker.client.put(f"/v1/lists/{uuid4()}", json={})
    assert reply.headers["Allow"] == "DELETE, GET, HEAD, PATCH"
    reply = await broker.client.head("/v1/events")
    assert (reply.status_code, reply.headers["Allow"]) == (405, "GET")


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE")


@pytest.mark.parametrize("template", sorted(api()["paths"]))
async def test_each_path_names_exactly_the_methods_that_it_takes(broker: Broker, template: str) -> None:
    """A path such as /v1/lists/delete is not the path of a list with the id "delete"."""
    path = re.sub(r"\{\w+\}", str(uuid4()), template)
    taken = {method.upper() for method in api()["paths"][template]}
    if "GET" in taken and not path.endswith("/events"):
        taken.add("HEAD")
    async with broker.client_with(None) as stranger:
        for method in METHODS:
            reply = await stranger.request(method, path)
            assert (reply.status_code != 405) == (method in taken), f"{method} {path}: {reply.status_code}"
            if reply.status_code == 405:
                assert reply.headers["Allow"] == ", ".join(sorted(taken))


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
async def test_a_page_names_the_methods_that_it_takes(broker: Broker, path: str) -> None:
    for method in ("OPTIONS", "POST", "DELETE"):
        reply = await broker.client.request(method, path)
        assert (reply.status_code, set(reply.headers["Allow"].split(", "))) == (405, {"GET", "HEAD"})


# --- what is taken for something else ---


@pytest.mark.parametrize("path", ["/v1/lists", "/v1/pushes"])
@pytest.mark.parametrize("text", ["0.5", "0", "1700000000", "-1", "1e3", "inf", "2026-07-01", "2026", ""])
async def test_only_a_time_is_taken_for_a_time(broker: Broker, path: str, text: str) -> None:
    for name in ("since", "until"):
        reply = await broker.client.get(path, params={name: text})
        assert pointers(check_problem(reply, 422, "invalid-input")) == [f"query:{name}"]


@pytest.mark.parametrize(
    "text",
    [
        "2026-07-01T12:00:00Z",
        "2026-07-01t12:00:00.123456z",
        "2026-07-01 12:00:00+02:00",
        "2026-07-01T12:00-07:00",
    ],
)
async def test_every_form_of_a_time_with_an_offset_is_taken(broker: Broker, text: str) -> None:
    for path in ("/v1/lists", "/v1/pushes"):
        assert (await broker.client.get(path, params={"since": text, "until": text})).status_code == 200


@pytest.mark.parametrize("text", ["5.0", "1_0", "+5", " 5", "5e0", "true", "0x5"])
async def test_only_digits_are_taken_for_a_number(broker: Broker, text: str) -> None:
    for path in ("/v1/lists", "/v1/operations", "/v1/events/history", "/v1/tokens"):
        reply = await broker.client.get(path, params={"limit": text})
        assert pointers(check_problem(reply, 422, "invalid-input")) == ["query:limit"]
    reply = await broker.client.get("/v1/events", params={"after": text})
    assert pointers(check_problem(reply, 422, "invalid-input")) == ["query:after"]


OPTIONAL_BODIES = [
    re.sub(r"\{\w+\}", str(UUID(int=0)), path)
    for _, path, operation in operations()
    if "requestBody" in operation and not operation["requestBody"].get("required")
]


@pytest.mark.parametrize("body", [b"null", b" null\n", b"[]", b"false", b"0", b'""'])
@pytest.mark.parametrize("path", OPTIONAL_BODIES)
async def test_only_no_body_is_taken_for_no_body(broker: Broker, path: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    reply = await broker.client.post(path, content=body, headers=headers)
    document = check_problem(reply, 422, "invalid-input")
    assert (document["detail"], pointers(document)) == ("Send a JSON object.", [""])
    check_problem(await broker.client.post(path), 404)
    reply = await broker.client.post(path, params={"nothing": "1"}, content=body, headers=headers)
    assert pointers(check_problem(reply, 422, "invalid-input")) == ["query:nothing", ""]


# --- generated bodies ---

TEXTS = st.text(max_size=20) | st.sampled_from([f"{NOWHERE}/a:1", "linux/amd64", DIGEST, "\0", "null"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
MEMBERS = {
    "/v1/lists": [
        *("reference", "sources", "amend", "session", "expected_platforms", "push_when_complete", "format"),
        *("annotations", "tags", "targets", "labels", "expires_in", "subject", "artifact_type"),
    ],
    "/v1/lists/delete": ["references", "ids", "session"],
    "/v1/inspections": ["references", "verbose", "insecure"],
    "/v1/tokens": ["name", "project", "admin"],
    "/v1/projects": ["name"],
}
BODIES = st.sampled_from(sorted(MEMBERS)).flatmap(
    lambda path: st.tuples(
        st.just(path), st.dictionaries(st.sampled_from(MEMBERS[path]) | TEXTS, VALUES, max_size=5) | VALUES
    )
)


@pytest.mark.slow
async def test_no_generated_body_causes_a_500(start_broker: StartBroker) -> None:
    # Without a worker, because some generated references name real registries.
    broker = await start_broker(worker=False)
    loop = asyncio.get_running_loop()

    async def send(path: str, body: object) -> None:
        reply = await broker.client.post(path, json=body, headers={"Prefer": "respond-async"})
        assert reply.status_code in {200, 201, 202, 400, 404, 409, 422}, reply.text
        if reply.status_code >= 400:
            check_problem(reply, reply.status_code)

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(BODIES)
    def sends(sent: tuple[str, object]) -> None:
        asyncio.run_coroutine_threadsafe(send(*sent), loop).result(30)

    await asyncio.to_thread(sends)
