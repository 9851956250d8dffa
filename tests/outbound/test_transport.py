"""The httpx2 transport on aiohttp."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from app.outbound.messages import ExactRequest
from app.outbound.policy import AccessPolicy
from app.outbound.resolver import CheckedResolver
from app.outbound.tls import unverified_tls
from app.outbound.transport import AiohttpTransport, IncompleteBody
from app.outbound.url import parse_url
from tests.support.registry_clients import listening

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def transport() -> AsyncIterator[AiohttpTransport]:
    async def look_up(host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
        if host == "gone.test":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [("127.0.0.1", int(socket.AF_INET))]

    policy = AccessPolicy.parse(allow_loopback=True)
    resolver = CheckedResolver(policy, look_up, seconds=5.0)
    async with AiohttpTransport(resolver, unverified_tls(), connect_seconds=5.0) as opened:
        yield opened


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that sends these bytes for each request, and the requests that it received."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        body = await reader.readexactly(length)
        if b"transfer-encoding: chunked" in lines:
            body = await reader.readuntil(b"0\r\n\r\n")
        received.append(head + body)
        writer.write(raw)
        writer.close()

    async with listening(serve) as port:
        yield port, received


async def send(request: httpx2.Request) -> tuple[int, bytes]:
    async with transport() as opened:
        response = await opened.handle_async_request(request)
        return response.status_code, await response.aread()


@pytest.mark.parametrize("target", ["/a%2Fb/../c;d?x=%20+|{}&_state=%2b==", "//twice//", "/%zz?%"])
async def test_the_target_goes_out_byte_for_byte(target: str) -> None:
    async with answering(OK) as (port, received):
        url = f"http://reg.test:{port}/v2/"
        assert await send(httpx2.Request("GET", url, extensions={"target": target.encode()})) == (200, b"ok")
    assert received[0].startswith(f"GET {target} HTTP/1.1\r\nHost: reg.test:{port}\r\n".encode())


async def test_an_exact_request_goes_out_byte_for_byte() -> None:
    target = "/a%2Fb/../c;d?x=%20+|{}&_state=%2b=="
    async with answering(OK) as (port, received):
        url = parse_url(f"http://reg.test:{port}{target}")
        assert url is not None
        assert await send(ExactRequest("PUT", url, {"X-Some": "thing"}, b"body")) == (200, b"ok")
    assert received[0].startswith(f"PUT {target} HTTP/1.1\r\nHost: reg.test:{port}\r\n".encode())
    assert b"\r\nX-Some: thing\r\n" in received[0]
    assert received[0].endswith(b"\r\n\r\nbody")


async def test_the_address_of_a_request_is_used_where_no_target_is_given() -> None:
    async with answering(OK) as (port, received):
        await send(httpx2.Request("GET", f"http://reg.test:{port}/v2/?a=b%2Fc"))
    assert received[0].startswith(b"GET /v2/?a=b%2Fc HTTP/1.1\r\n")


@pytest.mark.parametrize("length", [None, "6"])
async def test_a_body_is_streamed_with_its_length_or_in_chunks(length: str | None) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"def"

    headers = {"Content-Length": length} if length else {}
    async with answering(OK) as (port, received):
        url = f"http://reg.test:{port}/"
        assert await send(httpx2.Request("PUT", url, headers=headers, content=body())) == (200, b"ok")
    head, _, sent = received[0].partition(b"\r\n\r\n")
    assert sent == (b"abcdef" if length else b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
    assert head.lower().count(b"transfer-encoding") == (0 if length else 1)


@pytest.mark.parametrize("content", [None, b"", b"some"])
async def test_a_body_of_bytes_has_its_length(content: bytes | None) -> None:
    async with answering(OK) as (port, received):
        await send(httpx2.Request("POST", f"http://reg.test:{port}/", content=content))
    head, _, sent = received[0].partition(b"\r\n\r\n")
    assert sent == (content or b"")
    assert b"\r\nContent-Length: %d" % len(sent) in head


async def test_redirects_cookies_and_encodings_are_left_alone() -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: a=b\r\n"
    head += b"Connection: close\r\nContent-Encoding: gzip\r\n"
    async with answering(head + b"Content-Length: 3\r\n\r\nraw") as (port, received), transport() as opened:
        for _ in range(2):
            response = await opened.handle_async_request(httpx2.Request("GET", f"http://reg.test:{port}/"))
            assert response.status_code == 302
            assert b"".join([chunk async for chunk in response.aiter_raw()]) == b"raw"
    assert len(received) == 2
    assert all(b"cookie" not in each.lower() for each in received)


# --- failures ---


async def test_a_name_that_does_not_resolve_is_a_failed_connection() -> None:
    with pytest.raises(httpx2.ConnectError) as caught:
        await send(httpx2.Request("GET", "http://gone.test/"))
    assert isinstance(caught.value.__cause__, socket.gaierror)


async def test_a_port_where_nothing_listens_is_a_failed_connection() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(httpx2.ConnectError) as caught:
            await send(httpx2.Request("GET", f"http://reg.test:{bound.getsockname()[1]}/"))
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_a_handshake_that_meets_plain_http_is_a_failed_connection() -> None:
    async with listening(_speak_http) as port:
        with pytest.raises(httpx2.ConnectError) as caught:
            await send(httpx2.Request("GET", f"https://reg.test:{port}/"))
    assert isinstance(caught.value.__cause__, ssl.SSLError)


async def _speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("raw", "failure"),
    [
        (b"", httpx2.ReadError),
        (b"SMTP ready\r\n\r\n", httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", IncompleteBody),
    ],
    ids=["no response", "another protocol", "half a body"],
)
async def test_a_broken_response_is_a_failure_of_httpx2(raw: bytes, failure: type[Exception]) -> None:
    async with answering(raw) as (port, received):
        with pytest.raises(httpx2.TransportError) as caught:
            await send(httpx2.Request("GET", f"http://reg.test:{port}/"))
    assert type(caught.value) is failure
    assert len(received) == 1
