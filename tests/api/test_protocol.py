"""Limits on the size and the duration of a request's head, over a raw socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.api.protocol import HEAD_BYTES, BoundedProtocol
from tests.support.broker import Broker

pytestmark = pytest.mark.slow

START = b"GET /healthz HTTP/1.1\r\nHost: broker\r\n"
REQUEST = START + b"\r\n"
HUGE = 2_000_000
PIECE = 16_384

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Message = dict[str, Any]


def head_of(size: int) -> bytes:
    """A request whose line and headers have this many bytes together."""
    start = START + b"X-Filler: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


@asynccontextmanager
async def connected(broker: Broker) -> AsyncIterator[Streams]:
    address = urlsplit(broker.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(start.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def assert_refused(reader: asyncio.StreamReader) -> None:
    status, headers, body = await read_answer(reader)
    assert (status, headers["connection"]) == (431, "close")
    assert headers["content-type"] == "application/problem+json"
    document = json.loads(body)
    assert (document["status"], document["title"]) == (431, "Request Header Fields Too Large")
    assert str(HEAD_BYTES) in document["detail"]
    assert await reader.read() == b""


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send as much of it as the broker accepts."""
    try:
        for start in range(0, len(data), PIECE):
            writer.write(data[start : start + PIECE])
            await writer.drain()
    except ConnectionError:
        pass


async def send_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * PIECE)
        await writer.drain()
        await asyncio.sleep(0.01)


HUGE_HEADS = {
    "many headers": START + b"X-One: two\r\n" * (HUGE // 12) + b"\r\n",
    "a header without an end": START + b"X-Endless: " + b"x" * HUGE,
    "a name without an end": START + b"x" * HUGE,
    "a path without an end": b"GET /" + b"x" * HUGE,
    "one byte too many": head_of(HEAD_BYTES + 1),
}


@pytest.mark.parametrize("head", HUGE_HEADS.values(), ids=HUGE_HEADS.keys())
async def test_a_head_over_the_limit_gets_a_problem_and_closes_the_connection(
    broker: Broker, head: bytes
) -> None:
    async with connected(broker) as (reader, writer):
        sending = asyncio.create_task(send(writer, head))
        await assert_refused(reader)
        writer.transport.abort()
        await sending
    assert (await broker.client.get("/healthz")).status_code == 200


async def test_heads_up_to_the_limit_are_answered_in_order(broker: Broker) -> None:
    async with connected(broker) as (reader, writer):
        for size in (HEAD_BYTES, len(REQUEST) + 20, HEAD_BYTES - 1, HEAD_BYTES):
            writer.write(head_of(size))
            assert (await read_answer(reader))[0] == 200


async def test_the_limit_applies_to_every_request_of_a_connection(broker: Broker) -> None:
    async with connected(broker) as (reader, writer):
        writer.write(REQUEST)
        assert (await read_answer(reader))[0] == 200
        writer.write(head_of(HEAD_BYTES + 1))
        await assert_refused(reader)


async def test_large_bodies_and_pipelined_requests_do_not_count_as_head(broker: Broker) -> None:
    body = json.dumps({"references": ["registry.invalid/" + "a" * 100_000]}).encode()
    head = (
        "POST /v1/inspections HTTP/1.1\r\nHost: broker\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {broker.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    async with connected(broker) as (reader, writer):
        writer.write(head.encode() + body + REQUEST + head_of(HEAD_BYTES - 1) + REQUEST)
        assert [(await read_answer(reader))[0] for _ in range(4)] == [422, 200, 200, 200]


# --- time limits ---


class Impatient(BoundedProtocol):
    head_seconds = 0.2
    linger_seconds = 0.05


Application = Callable[[Message, Any, Any], Awaitable[None]]


async def answer(_scope: Message, _receive: Any, send_message: Any) -> None:
    headers = [(b"content-length", b"2")]
    await send_message({"type": "http.response.start", "status": 200, "headers": headers})
    await send_message({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def impatient(application: Application = answer) -> AsyncIterator[Streams]:
    """A connection to a server with a short time limit for heads."""
    config = uvicorn.Config(application, http=Impatient, ws="none", log_config=None, access_log=False)
    config.load()
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: Impatient(config, ServerState(), {}), theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_a_silent_new_connection_is_closed() -> None:
    async with impatient() as (reader, _):
        async with asyncio.timeout(10):
            assert await reader.read() == b""


async def test_a_connection_may_be_idle_between_requests() -> None:
    async with impatient() as (reader, writer):
        for _ in range(2):
            writer.write(REQUEST)
            assert (await read_answer(reader))[0] == 200
            await asyncio.sleep(3 * Impatient.head_seconds)
            assert not reader.at_eof()


@pytest.mark.parametrize("before", [b"", REQUEST], ids=["first request", "later request"])
@pytest.mark.parametrize("begun", [b"G", START, START + b"X-Slow: "])
async def test_an_unfinished_head_closes_the_connection_after_the_time_limit(
    before: bytes, begun: bytes
) -> None:
    async with impatient() as (reader, writer):
        if before:
            writer.write(before)
            assert (await read_answer(reader))[0] == 200
        writer.write(begun)
        assert await reader.read() == b""


async def test_a_head_that_arrives_byte_by_byte_is_closed_after_the_time_limit() -> None:
    async with impatient() as (reader, writer):

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.01)

        writer.write(START)
        dripping = asyncio.create_task(drip())
        # A late byte resets the connection.
        with suppress(ConnectionError):
            assert await reader.read() == b""
        dripping.cancel()


async def test_bodies_and_idle_time_are_not_limited_by_the_head_timeout() -> None:
    async with impatient() as (reader, writer):
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: broker\r\nContent-Length: 2\r\n\r\n")
            await asyncio.sleep(3 * Impatient.head_seconds)
            writer.write(b"ab")
            assert (await read_answer(reader))[0] == 200
            await asyncio.sleep(3 * Impatient.head_seconds)


async def test_an_unfinished_next_head_does_not_cut_a_response() -> None:
    async def slowly(scope: Message, receive: Any, send_message: Any) -> None:
        await asyncio.sleep(3 * Impatient.head_seconds)
        await answer(scope, receive, send_message)

    async with impatient(slowly) as (reader, writer):
        writer.write(REQUEST)
        await asyncio.sleep(Impatient.head_seconds / 5)
        writer.write(START)
        assert (await read_answer(reader))[0] == 200
        assert await reader.read() == b""


async def test_a_rejected_caller_that_keeps_sending_is_disconnected() -> None:
    async with impatient() as (reader, writer):
        writer.write(head_of(HEAD_BYTES + 1))
        await assert_refused(reader)
        with pytest.raises(ConnectionError):
            await send_for_ever(writer)


# --- HTTP/1.0 ---


async def raw_answer(broker: Broker, request: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """The response to a request whose connection the broker closes."""
    async with connected(broker) as (reader, writer):
        writer.write(request.replace("\n", "\r\n").encode())
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    headers = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
    return int(start.split()[1]), headers, body


def named(headers: list[tuple[str, str]], name: str) -> list[str]:
    return [value for each, value in headers if each == name]


@pytest.mark.parametrize("connection", ["", "Connection: close\n", "Connection: keep-alive\n"])
@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/docs", "/metrics", "/v1/operations", "/no"])
async def test_a_response_to_http_1_0_has_a_length_and_closes(
    broker: Broker, path: str, connection: str
) -> None:
    request = f"GET {path} HTTP/1.0\nAuthorization: Bearer {broker.token}\n{connection}\n"
    _, headers, body = await raw_answer(broker, request)
    assert named(headers, "connection") == ["close"]
    assert named(headers, "content-length") == [str(len(body))]
    assert not named(headers, "transfer-encoding")


async def ended_operation(broker: Broker) -> str:
    body = {"reference": "registry.invalid/list:1", "sources": ["registry.invalid/a:1"]}
    problem = await broker.call("POST", "/v1/lists", body, status=502)
    return str(problem["operation_id"])


@pytest.mark.parametrize("connection", ["", "Connection: close\n", "Connection: keep-alive\n"])
async def test_a_stream_over_http_1_0_has_no_chunks_and_one_connection_header(
    broker: Broker, connection: str
) -> None:
    path = f"/v1/operations/{await ended_operation(broker)}/events"
    request = f"GET {path} HTTP/1.0\nAuthorization: Bearer {broker.token}\n{connection}\n"
    status, headers, body = await raw_answer(broker, request)
    assert (status, named(headers, "connection")) == (200, ["close"])
    assert not named(headers, "transfer-encoding")
    assert body.startswith(b"id: ")
    assert body.endswith(b"\r\n\r\n")


async def test_a_stream_over_http_1_1_has_chunks_and_closes_if_it_was_asked_to(broker: Broker) -> None:
    path = f"/v1/operations/{await ended_operation(broker)}/events"
    start = f"GET {path} HTTP/1.1\nHost: broker\nAuthorization: Bearer {broker.token}\n"
    _, headers, body = await raw_answer(broker, f"{start}Connection: close\n\n")
    assert named(headers, "connection") == ["close"]
    assert named(headers, "transfer-encoding") == ["chunked"]
    assert body.endswith(b"\r\n0\r\n\r\n")


async def test_head_and_empty_responses_over_http_1_0_have_no_content(broker: Broker) -> None:
    for request in ("HEAD /healthz HTTP/1.0\n\n", "HEAD /docs HTTP/1.0\n\n"):
        status, headers, body = await raw_answer(broker, request)
        assert (status, body, named(headers, "connection")) == (200, b"", ["close"])
        assert not named(headers, "transfer-encoding")


async def test_a_body_over_http_1_0_is_read_without_an_interim_response(broker: Broker) -> None:
    content = json.dumps({"references": []})
    status, headers, body = await raw_answer(
        broker,
        "POST /v1/lists/delete HTTP/1.0\nContent-Type: application/json\nExpect: 100-continue\n"
        f"Authorization: Bearer {broker.token}\nContent-Length: {len(content)}\n\n{content}",
    )
    assert (status, json.loads(body)) == (200, {"results": []})
    assert named(headers, "connection") == ["close"]


@pytest.mark.parametrize("request_line", ["nonsense", "GET /healthz HTTP/3.7", "G@T / HTTP/1.1"])
async def test_what_is_not_http_gets_a_problem(broker: Broker, request_line: str) -> None:
    status, headers, body = await raw_answer(broker, f"{request_line}\nHost: broker\n\n")
    assert (status, json.loads(body)["status"]) == (400, 400)
    assert named(headers, "content-type") == ["application/problem+json"]
    assert named(headers, "connection") == ["close"]
