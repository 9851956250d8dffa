"""The limits of responses: every honest body arrives, and floods of heads or tiny chunks end the call."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from aiohttp.http_exceptions import HttpProcessingError

from app.outbound.client import body_of
from app.outbound.connections import Connections
from app.outbound.response_limits import LimitedResponseHandler
from app.outbound.url import parse_url
from app.registry.client import Limits
from tests.support.registry_clients import LOOPBACK, listening

HEAD = b"HTTP/1.1 200 OK\r\n"
BODY = random.Random(5).randbytes(3 * 1024 * 1024)


@asynccontextmanager
async def answering(*pieces: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
    """The body of a response that arrives in these pieces."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with listening(serve) as port, connected(port) as (transport, url), asyncio.timeout(120):
        response = await transport.handle_async_request(httpx2.Request("GET", url))
        try:
            yield body_of(response)
        finally:
            await response.aclose()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[httpx2.AsyncBaseTransport, str]]:
    url = parse_url(f"http://127.0.0.1:{port}/")
    assert url is not None
    connections = Connections(LOOPBACK, Limits())
    try:
        yield connections.transport(url, peer="x", verify=False), str(url)
    finally:
        await connections.close()


async def receive(*pieces: bytes, pause: float = 0.0) -> bytes:
    """Read the body as it arrives, or after a pause in which more arrives than is buffered."""
    async with answering(*pieces) as chunks:
        await asyncio.sleep(pause)
        return b"".join([chunk async for chunk in chunks])


def chunked(body: bytes, size: int, extension: bytes = b"") -> bytes:
    parts = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n\r\n"


async def test_a_large_body_arrives_whole_with_a_slow_reader() -> None:
    """aiohttp stops its parser in the middle of what came, and at the very end of it too."""
    bodies = [BODY, *(BODY[:size] for size in range(500 * 1024, 1024 * 1024, 40 * 1024))]
    answers = [HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]
    answers += [HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 32 * 1024) for body in bodies]
    got = await asyncio.gather(*(receive(answer, pause=0.1) for answer in answers))
    assert [hashlib.sha256(each).digest() for each in got] == [
        hashlib.sha256(body).digest() for body in bodies * 2
    ]


async def test_a_head_may_come_in_any_pieces() -> None:
    data = HEAD + b"X: " + b"a" * 7_000 + b"\r\nContent-Length: 5\r\n\r\nhello"
    rng = random.Random(1)
    for _ in range(30):
        cuts = sorted(rng.sample(range(1, len(data)), 4))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert await receive(*pieces) == b"hello"


async def test_a_few_interim_answers_are_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert await receive(early * 5 + HEAD + b"Content-Length: 2\r\n\r\nok") == b"ok"


@pytest.mark.parametrize("extension", [b"", b";a=b"])
async def test_a_small_body_may_come_in_crumbs(extension: bytes) -> None:
    body = BODY[:400]
    assert await receive(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 1, extension)) == body


async def test_a_text_of_many_lines_is_not_taken_for_tiny_chunks() -> None:
    text = b'  "key": "value",\r\n' * 50_000
    assert await receive(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(text, 8192)) == text
    assert await receive(HEAD + b"Content-Length: %d\r\n\r\n" % len(text) + text) == text
    numbers = b"a\r\n" * 50_000
    assert await receive(HEAD + b"Content-Length: %d\r\n\r\n" % len(numbers) + numbers) == numbers


async def test_a_flood_of_interim_responses_ends_the_call() -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        await receive(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000)


@pytest.mark.parametrize("extension", [b"", b";a=b"])
async def test_a_large_body_in_tiny_chunks_ends_the_call(extension: bytes) -> None:
    with pytest.raises(httpx2.ReadError):
        await receive(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunked(BODY[:500_000], 1, extension))


async def test_several_honest_responses_arrive_on_one_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 10 + HEAD + b"Content-Length: 2\r\n\r\nok")
        writer.close()

    async with listening(serve) as port, connected(port) as (transport, url):
        for _ in range(5):
            response = await transport.handle_async_request(httpx2.Request("GET", url))
            assert await response.aread() == b"ok"


class _Transport(asyncio.Transport):
    """Counts how often it is told to close."""

    closings = 0

    def close(self) -> None:
        self.closings += 1


async def test_the_rest_of_a_refused_head_is_not_parsed() -> None:
    """What is read at once has 64 slices of a head; a parser that refused one would refuse each."""
    handler = LimitedResponseHandler(asyncio.get_running_loop())
    transport = _Transport()
    handler.connection_made(transport)
    handler.set_response_params()
    handler.data_received(HEAD + b"X: " + b"a" * 256 * 1024)
    handler.data_received(b"a" * 256 * 1024)
    assert isinstance(handler.exception(), HttpProcessingError)
    assert transport.closings == 1
