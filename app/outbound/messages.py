"""httpx2 requests and responses that parse what only some transports and readers look at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import httpx2
from multidict import CIMultiDict, CIMultiDictProxy

from app.outbound.url import Url

__all__ = ["EngineResponse", "ExactRequest", "first_headers"]

_WITH_BODY = frozenset({"PATCH", "POST", "PUT"})
_UNPARSED = httpx2.URL()


class ExactRequest(httpx2.Request):
    """A request whose address goes out byte for byte; `httpx2.URL` would quote it again.

    The exact path and query are the extension `target`, which httpx2's own transport sends, too. `url` and
    `headers` are parsed when a transport reads them: that takes longer than all else here together.
    """

    def __init__(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | bytes | None = None,
    ) -> None:
        authority, target = url.authority, url.target
        self.address = f"{url.scheme}://{authority}{target}"
        self.sent_headers = {"Host": authority, **headers}
        self._parsed_url: httpx2.URL | None = None
        self._parsed_headers: httpx2.Headers | None = None
        if body is None or isinstance(body, bytes):
            stream: httpx2.AsyncByteStream = httpx2.ByteStream(body or b"")
            if body or method in _WITH_BODY:
                self.sent_headers.setdefault("Content-Length", str(len(body or b"")))
        else:
            stream = _Body(body)
            if "Content-Length" not in headers:
                self.sent_headers["Transfer-Encoding"] = "chunked"
        super().__init__(method, _UNPARSED, stream=stream, extensions={"target": target.encode()})
        self._parsed_url = self._parsed_headers = None

    @property
    def url(self) -> httpx2.URL:
        if self._parsed_url is None:
            self._parsed_url = httpx2.URL(self.address)
        return self._parsed_url

    @url.setter
    def url(self, url: httpx2.URL) -> None:
        self._parsed_url = url

    @property
    def headers(self) -> httpx2.Headers:
        if self._parsed_headers is None:
            self._parsed_headers = httpx2.Headers(self.sent_headers)
        return self._parsed_headers

    @headers.setter
    def headers(self, headers: httpx2.Headers) -> None:
        self._parsed_headers = headers


class _Body(httpx2.AsyncByteStream):
    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks


class EngineResponse(httpx2.Response):
    """A response of aiohttp, whose headers are parsed already; httpx2's are made when they are read."""

    def __init__(
        self,
        status: int,
        headers: CIMultiDictProxy[str],
        raw_headers: tuple[tuple[bytes, bytes], ...],
        stream: httpx2.AsyncByteStream,
        request: httpx2.Request,
    ) -> None:
        self._parsed_headers: httpx2.Headers | None = None
        super().__init__(status, stream=stream, request=request)
        self._parsed_headers = None
        self._raw_headers = raw_headers
        self.multidict = headers

    @property
    def headers(self) -> httpx2.Headers:
        if self._parsed_headers is None:
            self._parsed_headers = httpx2.Headers(self._raw_headers)
        return self._parsed_headers

    @headers.setter
    def headers(self, headers: httpx2.Headers) -> None:
        self._parsed_headers = headers


def first_headers(response: httpx2.Response) -> CIMultiDict[str]:
    """The headers of a response, of which `get` gives the first of one name; httpx2's would join them all."""
    if isinstance(response, EngineResponse):
        return CIMultiDict(response.multidict)
    return CIMultiDict(
        [
            (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
            for name, value in response.headers.raw
        ]
    )
