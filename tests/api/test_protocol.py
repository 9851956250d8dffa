"""Limits on connections, and on the size and duration of heads, bodies and answers, over a raw socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.api.connections import ClientConnections, ConnectionLimits
from app.api.protocol import HEAD_BYTES, LONGEST_BODY, BoundedProtocol
from tests.support.broker import Broker, StartBroker, check_problem
from tests.support.operation_queue import PATIENCE_SECONDS, until

pytestmark = pytest.mark.slow

START = b"GET /healthz HTTP/1.1\r\nHost: broker\r\n"
REQUEST = START + b"\r\n"
HUGE = 2_000_000
PIECE = 16_384
KERNEL_BUFFER = 4_096

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


SECONDS = 0.2
# Where a busy machine must not be taken for a slow caller.
PATIENT = 0.6


class Impatient(BoundedProtocol):
    open_connections = ClientConnections(ConnectionLimits(body_seconds=SECONDS, write_seconds=SECONDS))
    head_seconds = SECONDS
    linger_seconds = 0.05


Application = Callable[[Message, Any, Any], Awaitable[None]]


async def answer(_scope: Message, _receive: Any, send_message: Any) -> None:
    headers = [(b"content-length", b"2")]
    await send_message({"type": "http.response.start", "status": 200, "headers": headers})
    await send_message({"type": "http.response.body", "body": b"ok"})


async def read_and_answer(scope: Message, receive: Any, send_message: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await answer(scope, receive, send_message)


@asynccontextmanager
async def impatient(
    application: Application = answer, protocol: type[BoundedProtocol] = Impatient
) -> AsyncIterator[Streams]:
    """A connection to a server with short time limits."""
    config = uvicorn.Config(application, http=protocol, ws="none", log_config=None, access_log=False)
    config.load()
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: protocol(config, ServerState(), {}), theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_a_silent_new_connection_is_closed() -> None:
    async with impatient() as (reader, _):
        async with asyncio.timeout(PATIENCE_SECONDS):
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
    class Patient(Impatient):
        open_connections = ClientConnections(ConnectionLimits())

    async with impatient(read_and_answer, Patient) as (reader, writer):
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


# --- bodies ---

BODY = b"POST / HTTP/1.1\r\nHost: broker\r\nContent-Length: 1000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: broker\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("head", [BODY, BODY + b"x" * 100, CHUNKED, CHUNKED + b"5\r\nab"])
@pytest.mark.parametrize("before", [b"", REQUEST], ids=["first request", "later request"])
async def test_a_body_that_does_not_come_is_refused(head: bytes, before: bytes) -> None:
    async with impatient(read_and_answer) as (reader, writer):
        if before:
            writer.write(before)
            assert (await read_answer(reader))[0] == 200
        writer.write(head)
        async with asyncio.timeout(PATIENCE_SECONDS):
            status, headers, body = await read_answer(reader)
            assert (status, headers["connection"]) == (408, "close")
            assert json.loads(body)["title"] == "Request Timeout"
            assert await reader.read() == b""


async def test_a_body_that_arrives_byte_by_byte_is_refused() -> None:
    async with impatient(read_and_answer) as (reader, writer):

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.01)

        writer.write(BODY)
        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await read_answer(reader))[0] == 408
            # A late byte resets the connection.
            with suppress(ConnectionError):
                assert await reader.read() == b""
        dripping.cancel()


async def test_a_body_of_which_much_has_come_has_more_time() -> None:
    class Patient(BoundedProtocol):
        open_connections = ClientConnections(ConnectionLimits(body_seconds=1.0))

    async with impatient(read_and_answer, Patient) as (reader, writer):
        writer.write(BODY + b"x" * 500_000)
        await asyncio.sleep(1.2)
        writer.write(b"x" * 500_000)
        assert (await read_answer(reader))[0] == 200


async def test_the_time_in_which_the_broker_does_not_read_does_not_count() -> None:
    class Patient(BoundedProtocol):
        open_connections = ClientConnections(ConnectionLimits(body_seconds=PATIENT))

    go_on = asyncio.Event()

    async def late(scope: Message, receive: Any, send_message: Any) -> None:
        await go_on.wait()
        await read_and_answer(scope, receive, send_message)

    async with impatient(late, Patient) as (reader, writer):
        sending = asyncio.create_task(send(writer, BODY + b"x" * 1_000_000))
        # Longer than any body may take.
        await asyncio.sleep((LONGEST_BODY + 1) * PATIENT)
        go_on.set()
        assert (await read_answer(reader))[0] == 200
        await sending


@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"])
@pytest.mark.parametrize("sent", [b"", b"x" * 500_000])
async def test_an_answer_to_a_body_that_has_not_come_closes_the_connection(expect: str, sent: bytes) -> None:
    """It arrives although the caller is still sending."""
    async with impatient() as (reader, writer):
        head = f"POST / HTTP/1.1\r\nHost: broker\r\n{expect}Content-Length: 1000000\r\n\r\n"
        sending = asyncio.create_task(send(writer, head.encode() + sent))
        async with asyncio.timeout(PATIENCE_SECONDS):
            status, headers, _ = await read_answer(reader)
            assert (status, headers["connection"]) == (200, "close")
            assert await reader.read() == b""
            await sending


async def test_a_caller_that_sends_its_body_after_the_answer_is_disconnected() -> None:
    async with impatient() as (reader, writer):
        writer.write(CHUNKED)
        assert (await read_answer(reader))[0] == 200
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await send_for_ever(writer)


async def test_an_answer_to_a_whole_body_keeps_the_connection() -> None:
    async with impatient() as (reader, writer):
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nHost: broker\r\nContent-Length: 2\r\n\r\nab")
            status, headers, _ = await read_answer(reader)
            assert (status, "connection" in headers) == (200, False)


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/v1/lists", "wrong", 401),
        ("/v1/lists", None, 413),
        ("/nowhere", "wrong", 404),
        ("/healthz", "", 405),
    ],
)
async def test_a_refusal_does_not_wait_for_the_body(
    broker: Broker, path: str, token: str | None, status: int
) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: broker\r\nAuthorization: Bearer {token or broker.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 5000000\r\n\r\n"
    )
    async with asyncio.timeout(PATIENCE_SECONDS), AsyncExitStack() as stack:
        for _ in range(20):
            reader, writer = await stack.enter_async_context(connected(broker))
            writer.write(head.encode())
            answered, headers, _ = await read_answer(reader)
            assert (answered, headers["connection"]) == (status, "close")
            assert await reader.read() == b""


async def test_a_body_that_does_not_come_ends_an_authenticated_request(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, body_seconds=0.2)
    head = (
        f"POST /v1/lists HTTP/1.1\r\nHost: broker\r\nAuthorization: Bearer {broker.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"
    )
    async with asyncio.timeout(PATIENCE_SECONDS), connected(broker) as (reader, writer):
        writer.write(head.encode())
        assert (await read_answer(reader))[0] == 408
        assert await reader.read() == b""


# --- answers that are not read ---

LARGE = 4_000_000


def answering(size: int) -> Application:
    async def application(_scope: Message, _receive: Any, send_message: Any) -> None:
        headers = [(b"content-length", str(size).encode())]
        await send_message({"type": "http.response.start", "status": 200, "headers": headers})
        await send_message({"type": "http.response.body", "body": b"x" * size})

    return application


def fresh() -> type[BoundedProtocol]:
    """A protocol whose connections are counted alone."""

    class Fresh(Impatient):
        open_connections = ClientConnections(Impatient.open_connections.limits)

    return Fresh


@pytest.mark.parametrize("size", [LARGE, 30_000], ids=["a large answer", "a small answer"])
async def test_a_connection_whose_answer_is_not_read_is_closed(size: int) -> None:
    # Passes if nothing raises.
    protocol = fresh()
    async with impatient(answering(size), protocol) as (_, writer):
        cast("asyncio.Transport", writer.transport).pause_reading()
        writer.write(REQUEST)
        await until(lambda: protocol.open_connections.open == 0)


async def test_a_reader_that_stops_in_the_middle_is_closed() -> None:
    # Passes if nothing raises.
    protocol = fresh()
    async with impatient(answering(LARGE), protocol) as (reader, writer):
        writer.write(REQUEST)
        await reader.readexactly(LARGE // 4)
        cast("asyncio.Transport", writer.transport).pause_reading()
        await until(lambda: protocol.open_connections.open == 0)


async def test_a_slow_reader_that_goes_on_gets_everything() -> None:
    class Patient(BoundedProtocol):
        open_connections = ClientConnections(ConnectionLimits(write_seconds=PATIENT))

    async with impatient(answering(LARGE), Patient) as (reader, writer):
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        started = asyncio.get_running_loop().time()
        for _ in range(40):
            await reader.readexactly(LARGE // 40)
            await asyncio.sleep(PATIENT / 10)
        assert asyncio.get_running_loop().time() - started > 2 * PATIENT


async def test_a_stream_may_be_silent_for_longer_than_a_reader() -> None:
    async def stream(_scope: Message, _receive: Any, send_message: Any) -> None:
        await send_message({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send_message({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            await asyncio.sleep(2 * SECONDS)
        await send_message({"type": "http.response.body", "body": b"end"})

    async with impatient(stream) as (reader, writer):
        writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            received = await reader.read(-1)
        assert received.endswith(b"3\r\nend\r\n0\r\n\r\n")


# --- the number of connections ---


async def test_connections_over_the_limit_are_refused_until_others_close() -> None:
    class Few(Impatient):
        open_connections = ClientConnections(ConnectionLimits(connections=2))
        head_seconds = linger_seconds = PATIENCE_SECONDS

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(impatient(protocol=Few))
        await stack.enter_async_context(impatient(protocol=Few))
        async with asyncio.timeout(PATIENCE_SECONDS), impatient(protocol=Few) as (reader, writer):
            writer.write(REQUEST)
            status, headers, body = await read_answer(reader)
            assert (status, headers["connection"]) == (503, "close")
            assert "too many connections" in json.loads(body)["detail"]
            assert await reader.read() == b""
        first[1].close()
        await until(lambda: Few.open_connections.open == 1)
        reader, writer = await stack.enter_async_context(impatient(protocol=Few))
        writer.write(REQUEST)
        assert (await read_answer(reader))[0] == 200


async def test_a_flood_of_connections_is_closed_without_an_answer() -> None:
    class Few(Impatient):
        open_connections = ClientConnections(ConnectionLimits(connections=4))
        head_seconds = linger_seconds = PATIENCE_SECONDS

    async with AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(impatient(protocol=Few))
        async with asyncio.timeout(PATIENCE_SECONDS), impatient(protocol=Few) as (reader, _):
            with suppress(ConnectionError):
                assert await reader.read() == b""


async def connect_from(stack: AsyncExitStack, broker: Broker, address: str) -> Streams:
    url = urlsplit(broker.base_url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port, local_addr=(address, 0))
    stack.callback(writer.close)
    return reader, writer


async def test_each_address_has_a_limit_of_its_own(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, peer_connections=2)
    async with asyncio.timeout(PATIENCE_SECONDS), AsyncExitStack() as stack:
        for _ in range(2):
            reader, writer = await connect_from(stack, broker, "127.0.0.2")
            writer.write(REQUEST)
            assert (await read_answer(reader))[0] == 200
        reader, writer = await connect_from(stack, broker, "127.0.0.2")
        writer.write(REQUEST)
        status, _, body = await read_answer(reader)
        assert (status, "127.0.0.2" in json.loads(body)["detail"]) == (429, True)
        reader, writer = await connect_from(stack, broker, "127.0.0.3")
        writer.write(REQUEST)
        assert (await read_answer(reader))[0] == 200


async def test_behind_a_trusted_proxy_each_caller_has_a_limit_of_requests(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, peer_connections=1, trusted_proxies="127.0.0.1,10.0.0.0/8")
    async with AsyncExitStack() as stack:

        async def stream(**headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            reply = await stack.enter_async_context(broker.client.stream("GET", "/v1/events", headers=named))
            if reply.status_code != 200:
                await reply.aread()
                assert check_problem(reply, 429, "too-many-requests")["retry_after"] > 0
            return reply.status_code

        assert await stream(X_Forwarded_For="192.0.2.1") == 200
        # A caller can't pass for another one: only what the proxies have added counts.
        assert await stream(X_Forwarded_For="192.0.2.9, 192.0.2.1") == 429
        assert await stream(X_Forwarded_For="192.0.2.1, 10.1.1.1") == 429
        assert await stream(Forwarded="for=192.0.2.1") == 429
        assert await stream(X_Forwarded_For="192.0.2.1, 192.0.2.2") == 200
        assert await stream(Forwarded='for="[2001:db8::1]:4711"') == 200


# --- HTTP/1.0 ---


async def raw_answer(broker: Broker, request: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """The response to a request whose connection the broker closes."""
    async with connected(broker) as (reader, writer):
        writer.write(request.replace("\n", "\r\n").encode())
        head, _, body = (await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)).partition(b"\r\n\r\n")
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
