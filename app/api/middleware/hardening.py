"""Limits on every request and security headers on every response."""

from __future__ import annotations

import re
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.middleware.forwarded_client import REFUSAL
from app.api.problem_mapping import response_of
from app.api.security_headers import HEADERS, HSTS, of_docs
from app.errors import BrokerError, FieldError, InvalidHeader, MalformedRequest

_DOCS = "/docs"
# Streams have no end, so HEAD can't be answered by running GET.
_ENDLESS = "/events"

# These headers may occur only once. Given two values, a proxy may have checked the other one.
_SINGLE = ("Host", "Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID")
# RFC 3986 §3.2.2 and RFC 9110 §4.2.4: a host name or address, an optional port, and no userinfo.
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?", re.ASCII)
_WITHOUT_HOST = frozenset({"0.9", "1.0"})


class Hardening:
    """Answers HEAD like GET, limits the size of bodies, and sets security headers.

    Starlette's body limit answers in plain text, and FastAPI routes do not support HEAD.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, hsts_seconds: int = 0) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._hsts = {HSTS: f"max-age={hsts_seconds}"} if hsts_seconds else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = _refuse(scope) or scope.get("state", {}).get(REFUSAL)
        if scope["method"] == "HEAD" and not scope["path"].endswith(_ENDLESS):
            # HEAD is GET without the content (RFC 9110 §9.3.2). Uvicorn omits the content.
            scope = {**scope, "method": "GET"}
        app = self._app if refusal is None else response_of(refusal, scope["path"])

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                own = of_docs() if scope["path"] == _DOCS else HEADERS
                for name, value in {**own, **self._hsts}.items():
                    headers.setdefault(name, value)
            await send(message)

        await app(scope, self._counted(receive), hardened)

    def _counted(self, receive: Receive) -> Receive:
        """Count the bytes of a body, because a chunked body does not announce its length."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        return counted


def _refuse(scope: Scope) -> BrokerError | None:
    headers = Headers(scope=scope)
    detail = "A header contains U+0000."
    if any("\0" in value for value in headers.values()):
        return InvalidHeader(detail, errors=[FieldError("header:*", detail)])
    for name in _SINGLE:
        if len(headers.getlist(name)) > 1:
            return _malformed(name, f"The request has several {name} headers. Send one.")
    return _refuse_host(headers.get("host"), scope["http_version"])


def _refuse_host(host: str | None, version: str) -> BrokerError | None:
    """Check Host by RFC 9112 §3.2. HTTP/1.0 does not require it."""
    if host is None and version not in _WITHOUT_HOST:
        return _malformed("Host", "The Host header is missing. Send the host and port of the broker.")
    if host is not None and not _HOST.fullmatch(host):
        return _malformed("Host", "The Host header is not valid. Send the host and port of the broker.")
    return None


def _malformed(name: str, detail: str) -> MalformedRequest:
    return MalformedRequest(detail, errors=[FieldError(f"header:{name}", detail)])
