"""Requests with exact addresses, and the headers of responses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from app.outbound.messages import ExactRequest, first_headers
from app.outbound.url import Url, parse_url


def address(text: str) -> Url:
    url = parse_url(text)
    assert url is not None
    return url


def test_any_transport_can_read_the_address_and_the_headers() -> None:
    request = ExactRequest("GET", address("https://reg.test:5000/v2/?a=|%7e"), {"Accept": "*/*"})
    assert (request.url.host, request.url.port, request.url.path) == ("reg.test", 5000, "/v2/")
    assert request.extensions["target"] == b"/v2/?a=|%7e"
    assert dict(request.headers) == {"host": "reg.test:5000", "accept": "*/*"}


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [("GET", None, None), ("POST", None, "0"), ("PUT", b"", "0"), ("PUT", b"ab", "2")],
)
async def test_a_body_of_bytes_has_its_length(method: str, body: bytes | None, length: str | None) -> None:
    request = ExactRequest(method, address("https://reg.test/"), {}, body)
    assert request.headers.get("Content-Length") == length
    assert await request.aread() == (body or b"")


@pytest.mark.parametrize("length", [None, "4"])
async def test_a_streamed_body_has_its_length_or_is_chunked(length: str | None) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"

    headers = {"Content-Length": length} if length else {}
    request = ExactRequest("PUT", address("https://reg.test/"), headers, body())
    assert request.headers.get("Transfer-Encoding") == (None if length else "chunked")
    assert await request.aread() == b"abcd"


def test_the_first_of_several_headers_counts() -> None:
    response = httpx2.Response(200, headers=[(b"Location", b"/a"), (b"location", b"/b"), (b"X", b"\xff")])
    headers = first_headers(response)
    assert (headers.get("LOCATION"), headers.getall("Location")) == ("/a", ["/a", "/b"])
    assert headers["X"] == "\udcff"
