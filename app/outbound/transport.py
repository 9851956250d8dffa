"""An httpx2 transport on aiohttp that keeps addresses byte for byte."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator

import aiohttp
import httpx2
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict
from yarl import URL

from app.outbound.messages import EngineResponse, ExactRequest
from app.outbound.response_limits import Connector

__all__ = ["AiohttpTransport", "IncompleteBody"]

_MAX_HEADERS = 64
_MAX_HEADER_BYTES = 8190
_DNS_SECONDS = 10


class IncompleteBody(httpx2.ReadError):
    """The connection ended within the body of a response."""


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Connections with one TLS context, kept alive and pooled.

    It neither follows redirects nor decompresses, keeps no cookies and makes each request once. The request
    extension `target` is the exact path and query, as with httpx2's own transport.
    """

    def __init__(self, resolver: AbstractResolver, tls: ssl.SSLContext, *, connect_seconds: float) -> None:
        self._session = aiohttp.ClientSession(
            connector=Connector(resolver, tls, dns_seconds=_DNS_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=["Content-Type", "User-Agent", "Accept-Encoding"],
            middlewares=(_once,),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds),
            auto_decompress=False,
            trust_env=False,
            max_headers=_MAX_HEADERS,
            max_field_size=_MAX_HEADER_BYTES,
            max_line_size=_MAX_HEADER_BYTES,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if isinstance(request, ExactRequest):
            address, headers = request.address, CIMultiDict(request.sent_headers)
        else:
            address, headers = _address(request), _decoded(request.headers)
        body = _body(request)
        if isinstance(body, httpx2.AsyncByteStream):
            # aiohttp adds it by itself where the length is not known.
            headers.pop("Transfer-Encoding", None)
        try:
            response = await self._session.request(
                request.method,
                URL(address, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error) from _cause(error)
        return EngineResponse(
            response.status, response.headers, response.raw_headers, _Stream(response), request
        )

    async def aclose(self) -> None:
        await self._session.close()


class _Stream(httpx2.AsyncByteStream):
    """The body of a response as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error) from _cause(error)
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        try:
            await self._response.__aexit__(None, None, None)
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error) from _cause(error)


def _address(request: httpx2.Request) -> str:
    target = request.extensions.get("target", request.url.raw_path)
    return f"{request.url.scheme}://{request.url.netloc.decode()}{target.decode()}"


def _decoded(headers: httpx2.Headers) -> CIMultiDict[str]:
    return CIMultiDict([(name.decode(), value.decode()) for name, value in headers.raw])


def _body(request: httpx2.Request) -> bytes | httpx2.AsyncByteStream | None:
    if isinstance(request.stream, httpx2.AsyncByteStream) and not isinstance(
        request.stream, httpx2.ByteStream
    ):
        return request.stream
    return request.read() or None


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating idempotent requests by itself: one place alone counts attempts."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except aiohttp.ClientOSError as error:
        # With TLS 1.3 a server refuses a client certificate, or the lack of one, only after the handshake.
        if isinstance(error.__cause__, ssl.SSLError) and "_ALERT_" in str(error):
            raise error.__cause__ from None
        raise aiohttp.ClientConnectionError(str(error)) from error
    except aiohttp.ServerDisconnectedError as error:
        raise aiohttp.ClientConnectionError(str(error)) from error


def _translated(error: Exception) -> httpx2.TransportError:
    """httpx2's exception for one of aiohttp's; a ConnectError's cause is that of TLS or the system."""
    message = str(error)
    if isinstance(error, aiohttp.ClientConnectorError | ssl.SSLError) or _is_tls_failure(error):
        return httpx2.ConnectError(message)
    if isinstance(error, TimeoutError):
        return httpx2.ReadTimeout(message)
    if isinstance(error, aiohttp.ClientPayloadError):
        return IncompleteBody(message)
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return httpx2.ReadError(message)
    return httpx2.RemoteProtocolError(message)


def _cause(error: Exception) -> BaseException:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return error.certificate_error
    if isinstance(error, aiohttp.ClientConnectorDNSError) and not isinstance(error.os_error, socket.gaierror):
        return socket.gaierror(str(error.os_error))
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error
    if _is_tls_failure(error) and error.__cause__ is not None:
        return error.__cause__
    return error


def _is_tls_failure(error: Exception) -> bool:
    return isinstance(error, aiohttp.ClientOSError) and isinstance(error.__cause__, ssl.SSLError)
