"""What is asked of every request and said with every answer, whatever the route."""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import response_of
from app.errors import BodyTooLarge, BrokerError, FieldError, InvalidHeader, UnsupportedBody

# Nothing here is a page, so nothing a browser is given may run, but for the API's own documentation.
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_WITH_BODY = frozenset({"POST", "PATCH", "PUT"})
_JSON = frozenset({"application/json", "application/merge-patch+json"})


class Hardening:
    """Refuses large bodies and other forms than JSON, and keeps browsers from misreading answers.

    FastAPI's own limit of bodies answers in plain text.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = _refuse(scope) or self._refuse_length(scope)
        app = self._app if refusal is None else response_of(refusal, scope["path"])

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                if scope["path"] != "/docs":
                    headers.setdefault("Content-Security-Policy", _POLICY)
            await send(message)

        await app(scope, self._counted(receive), hardened)

    def _refuse_length(self, scope: Scope) -> BrokerError | None:
        length = Headers(scope=scope).get("content-length", "0")
        if int(length) <= self._max_body_bytes:
            return None
        return BodyTooLarge(f"The body has {length} bytes; this broker accepts {self._max_body_bytes}")

    def _counted(self, receive: Receive) -> Receive:
        """For bodies that come in pieces without saying how much there will be."""
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
    if headers.get("content-encoding", "identity") != "identity":
        return UnsupportedBody("Send the body as it is, without Content-Encoding")
    if any("\0" in value for value in headers.values()):
        return InvalidHeader("A header has U+0000", errors=[FieldError("header:*", "U+0000")])
    if scope["method"] not in _WITH_BODY or headers.get("content-length", "0") == "0":
        return None
    sent = headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent in _JSON:
        return None
    return UnsupportedBody(
        f"The body is sent as {sent or 'nothing'}: send JSON as application/json, with curl by --json"
    )
