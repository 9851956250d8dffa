"""What connections take in: everything honest, however it is cut up, and no floods of heads or crumbs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp.http_exceptions import HttpProcessingError

from app.outbound.connections import Pools
from app.outbound.policy import AccessPolicy
from app.outbound.response_limits import Handler
from app.outbound.url import parse_url
from app.registry.client import Limits
from tests.support.registry_clients import LOOPBACK, listening

HEAD = b"HTTP/1.1 200 OK\r\n"
BODY = random.Random(5).randbytes(3 * 1024 * 1024)


@asynccontextmanager
async def answering(*pieces: bytes, by_call: bool = False) -> AsyncIterator[AsyncIterator[bytes]]:
    """The body of an answer that comes in these pieces, by either way to ask for one."""

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

    async with listening(serve) as port:
        url = parse_url(f"http://127.0.0.1:{port}/")
        assert url is not None
        pools = Pools(LOOPBACK, Limits())
        pool = pools.of(url, registry="x", verify=False)
        try:
            asked = pool.call("GET", url, {}, None) if by_call else pool.stream("GET", url, {})
            async with asyncio.timeout(20), asked as opened:
                yield opened.chunks
        finally:
            await pools.close()


async def body_of(*pieces: bytes, pause: float = 0.0, by_call: bool = False) -> bytes:
    """Read as it comes, or only after a pause in which more comes than is taken in."""
    async with answering(*pieces, by_call=by_call) as chunks:
        await asyncio.sleep(pause)
        return b"".join([chunk async for chunk in chunks])


def chunked(body: bytes, size: int, extension: bytes = b"") -> bytes:
    parts = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("by_call", [True, False])
async def test_a_large_body_comes_whole_though_its_reader_is_late(by_call: bool) -> None:
    """aiohttp stops its parser in the middle of what came, and at the very end of it too."""
    bodies = [BODY, *(BODY[:size] for size in range(500 * 1024, 1024 * 1024, 40 * 1024))]
    answers = [HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]
    answers += [HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 32 * 1024) for body in bodies]
    got = await asyncio.gather(*(body_of(answer, pause=0.1, by_call=by_call) for answer in answers))
    assert [hashlib.sha256(each).digest() for each in got] == [
        hashlib.sha256(body).digest() for body in bodies * 2
    ]


async def test_a_head_may_come_in_any_pieces() -> None:
    data = HEAD + b"X: " + b"a" * 7_000 + b"\r\nContent-Length: 5\r\n\r\nhello"
    rng = random.Random(1)
    for _ in range(30):
        cuts = sorted(rng.sample(range(1, len(data)), 4))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert await body_of(*pieces) == b"hello"


async def test_a_few_interim_answers_are_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert await body_of(early * 5 + HEAD + b"Content-Length: 2\r\n\r\nok") == b"ok"


@pytest.mark.parametrize("extension", [b"", b";a=b"])
async def test_a_small_body_may_come_in_crumbs(extension: bytes) -> None:
    body = BODY[:400]
    assert await body_of(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 1, extension)) == body


async def test_a_text_with_many_lines_is_not_taken_for_crumbs() -> None:
    text = b'  "key": "value",\r\n' * 50_000
    assert await body_of(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(text, 8192)) == text
    assert await body_of(HEAD + b"Content-Length: %d\r\n\r\n" % len(text) + text) == text
    numbers = b"a\r\n" * 50_000
    assert await body_of(HEAD + b"Content-Length: %d\r\n\r\n" % len(numbers) + numbers) == numbers


async def test_a_flood_of_interim_answers_ends_the_call() -> None:
    with pytest.raises(aiohttp.ClientResponseError):
        await body_of(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000)


@pytest.mark.parametrize("extension", [b"", b";a=b"])
async def test_a_large_body_in_crumbs_ends_the_call(extension: bytes) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await body_of(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunked(BODY[:500_000], 1, extension))


async def test_an_honest_answer_comes_after_another_on_one_connection() -> None:
    policy = AccessPolicy.parse(allow_loopback=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 10 + HEAD + b"Content-Length: 2\r\n\r\nok")
        writer.close()

    async with listening(serve) as port:
        url = parse_url(f"http://127.0.0.1:{port}/")
        assert url is not None
        pools = Pools(policy, Limits())
        for _ in range(5):
            async with pools.of(url, registry="x", verify=False).stream("GET", url, {}) as opened:
                assert b"".join([chunk async for chunk in opened.chunks]) == b"ok"
        await pools.close()


class _Transport(asyncio.Transport):
    """Counts how often it is told to close."""

    closings = 0

    def close(self) -> None:
        self.closings += 1


async def test_the_rest_of_a_refused_head_is_parsed_no_more() -> None:
    """What is read at once has 64 slices of a head; a parser that refused one would refuse each."""
    handler = Handler(asyncio.get_running_loop())
    transport = _Transport()
    handler.connection_made(transport)
    handler.set_response_params()
    handler.data_received(HEAD + b"X: " + b"a" * 256 * 1024)
    handler.data_received(b"a" * 256 * 1024)
    assert isinstance(handler.exception(), HttpProcessingError)
    assert transport.closings == 1
