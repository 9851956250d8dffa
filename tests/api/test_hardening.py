"""A request whose headers are ambiguous or incomplete is refused before anything else looks at it."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from tests.support.broker import Broker


async def answer_to(broker: Broker, *lines: str, version: str = "1.1") -> tuple[int, dict[str, object]]:
    """The status and the document of the answer to GET /v1/operations with exactly these headers."""
    address = urlsplit(broker.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = [f"GET /v1/operations HTTP/{version}", *lines, "Connection: close", "", ""]
    writer.write("\r\n".join(head).encode("latin-1"))
    try:
        async with asyncio.timeout(120):
            answer = await reader.read()
    finally:
        writer.close()
    start, _, body = answer.partition(b"\r\n\r\n")
    return int(start.split()[1]), json.loads(body)


def authorization(broker: Broker) -> str:
    return f"Authorization: Bearer {broker.token}"


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("Host: broker", "Host: broker"),
        ("Host: broker", "host: other"),
        ("Host:",),
        ("Host: broker, other",),
        ("Host: broker/path",),
        ("Host: user@broker",),
        ("Host: bro ker",),
        ("Host: broker:port",),
        ("Host: [::1",),
    ],
)
async def test_a_request_without_one_valid_host_is_refused(
    shared_broker: Broker, hosts: tuple[str, ...]
) -> None:
    status, document = await answer_to(shared_broker, *hosts, authorization(shared_broker))
    assert (status, document["type"]) == (400, "urn:manifest-broker:problem:malformed-request")
    assert "Host" in str(document["detail"])


@pytest.mark.parametrize(
    "host", ["broker", "broker:8080", "broker:", "127.0.0.1:1", "[::1]:80", "[::1]", "my_host.example.com."]
)
async def test_every_valid_host_is_taken(shared_broker: Broker, host: str) -> None:
    status, _ = await answer_to(shared_broker, f"Host: {host}", authorization(shared_broker))
    assert status == 200


async def test_http_1_0_needs_no_host_but_takes_only_one(shared_broker: Broker) -> None:
    bearer = authorization(shared_broker)
    assert (await answer_to(shared_broker, bearer, version="1.0"))[0] == 200
    assert (await answer_to(shared_broker, "Host: a", "Host: b", bearer, version="1.0"))[0] == 400


@pytest.mark.parametrize(
    "second", ["Authorization: Bearer other", "authorization: Basic YTpi", "Authorization:"]
)
@pytest.mark.parametrize("is_first", [True, False])
async def test_several_authorizations_are_refused_in_each_order(
    shared_broker: Broker, second: str, is_first: bool
) -> None:
    lines = [authorization(shared_broker), second]
    status, document = await answer_to(
        shared_broker, "Host: broker", *(lines if is_first else reversed(lines))
    )
    assert (status, document["type"]) == (400, "urn:manifest-broker:problem:malformed-request")
    assert document["errors"] == [
        {
            "pointer": "header:Authorization",
            "detail": "The request has several Authorization headers. Send one.",
        }
    ]


@pytest.mark.parametrize("name", ["Content-Type", "Idempotency-Key", "Last-Event-ID"])
async def test_other_headers_of_one_value_may_come_once(shared_broker: Broker, name: str) -> None:
    bearer = authorization(shared_broker)
    status, document = await answer_to(shared_broker, "Host: a", bearer, f"{name}: 1", f"{name}: 2")
    assert status == 400
    assert name in str(document["detail"])
