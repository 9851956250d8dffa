"""Every /v1 request needs a valid token, known query parameters and a supported body."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from tests.support.broker import Broker, check_problem
from tests.support.openapi_contract import operations

MEBIBYTE = 2**20
JSON = {"Content-Type": "application/json"}

CALLS = [
    pytest.param(method, re.sub(r"\{\w+\}", str(UUID(int=0)), path), id=operation["operationId"])
    for method, path, operation in operations()
    if path.startswith("/v1/")
]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_a_request_without_a_valid_token_gets_only_a_401(
    shared_broker: Broker, method: str, path: str
) -> None:
    """Even if the query, the body, the media type and the length are invalid as well."""
    async with shared_broker.client_with(None) as client:
        for body, headers in (
            (b"{", JSON),
            (b"[" * 100_000, JSON),
            (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}),
            (b"{}", {**JSON, "Content-Encoding": "gzip"}),
            (b" " * (2 * MEBIBYTE), JSON),
        ):
            reply = await client.request(method, f"{path}?nothing=1", content=body, headers=headers)
            check_problem(reply, 401, "unauthenticated")


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_an_unknown_query_parameter_is_rejected_by_name(
    shared_broker: Broker, method: str, path: str
) -> None:
    """Otherwise a misspelt filter would match everything."""
    reply = await shared_broker.client.request(method, path, params={"refrence": "a", "Limit": "1"})
    refused = check_problem(reply, 422, "invalid-input")["errors"]
    assert [each["pointer"] for each in refused][:2] == ["query:refrence", "query:Limit"]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_an_unsupported_body_is_rejected_by_every_route_as_documented(
    shared_broker: Broker, method: str, path: str
) -> None:
    """The test client checks every response against the OpenAPI document."""
    client = shared_broker.client
    reply = await client.request(method, path, content=b" " * (2 * MEBIBYTE), headers=JSON)
    check_problem(reply, 413, "body-too-large")
    zipped = {**JSON, "Content-Encoding": "gzip"}
    check_problem(await client.request(method, path, content=b"{}", headers=zipped), 415, "unsupported-body")


async def test_a_chunked_body_needs_a_json_content_type(
    shared_broker: Broker,
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"url": "https://receiver.example.com/"}'

    for headers in ({"Content-Type": "text/plain"}, {}):
        reply = await shared_broker.client.post("/v1/webhooks", content=body(), headers=headers)
        check_problem(reply, 415, "unsupported-body")


@pytest.mark.parametrize("path", ["/v1/lists", "/v1/pushes"])
@pytest.mark.parametrize(
    ("name", "moment"), [("since", "0001-01-01T00:00:00+23:00"), ("until", "9999-12-31T23:59:59-23:00")]
)
async def test_a_time_out_of_range_in_utc_is_rejected_by_parameter_name(
    shared_broker: Broker, path: str, name: str, moment: str
) -> None:
    reply = await shared_broker.client.get(path, params={name: moment})
    (refused,) = check_problem(reply, 422, "invalid-input")["errors"]
    assert refused["pointer"] == f"query:{name}"
    for edge in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        assert (await shared_broker.client.get(path, params={name: edge})).status_code == 200
