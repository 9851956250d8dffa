"""Builds httpx2 requests whose addresses go out byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import httpx2

from app.outbound.url import Url

__all__ = ["build_request"]

_WITH_BODY = frozenset({"PATCH", "POST", "PUT"})
_UNPARSED = httpx2.URL()


def build_request(
    method: str, url: Url, headers: Mapping[str, str], body: AsyncIterator[bytes] | bytes | None = None
) -> httpx2.Request:
    """A request with the extensions `target` and `address`, which are exact; `httpx2.URL` would quote again.

    httpx2's own transport sends `target` too. `address` is the whole, for `AiohttpTransport`.
    """
    sent = {"Host": url.authority, **headers}
    if body is None or isinstance(body, bytes):
        stream: httpx2.AsyncByteStream = httpx2.ByteStream(body or b"")
        if body or method in _WITH_BODY:
            sent.setdefault("Content-Length", str(len(body or b"")))
    else:
        stream = _Body(body)
        if "Content-Length" not in sent:
            sent["Transfer-Encoding"] = "chunked"
    return _Request(method, url, sent, stream)


class _Request(httpx2.Request):
    """Parses its address when a transport reads it, since that costs more than all else here together."""

    def __init__(
        self, method: str, url: Url, headers: Mapping[str, str], stream: httpx2.AsyncByteStream
    ) -> None:
        address = str(url)
        target = address[len(url.origin) :].encode()
        super().__init__(
            method,
            _UNPARSED,
            headers=headers,
            stream=stream,
            extensions={"target": target, "address": address},
        )
        self._parsed: httpx2.URL | None = None

    @property
    def url(self) -> httpx2.URL:
        if self._parsed is None:
            self._parsed = httpx2.URL(self.extensions["address"])
        return self._parsed

    @url.setter
    def url(self, url: httpx2.URL) -> None:
        self._parsed = url


class _Body(httpx2.AsyncByteStream):
    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks
