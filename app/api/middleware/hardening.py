"""What is asked of every request and said with every answer, whatever the route."""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problem_mapping import response_of
from app.errors import BrokerError, FieldError, InvalidHeader

# Nothing here is a page, so nothing a browser is given may run, but for the API's own documentation.
_POLICY = "default-src 'none'; frame-ancestors 'none'"

# Streams, which nobody would end.
_ENDLESS = "/events"


class Hardening:
    """Answers HEAD as GET, ends bodies that are too large, and keeps browsers from misreading answers.

    FastAPI's own limit of bodies answers in plain text, and its routes know no HEAD.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = _refuse(scope)
        if scope["method"] == "HEAD" and not scope["path"].endswith(_ENDLESS):
            # As GET without the content (RFC 9110 §9.3.2), which uvicorn leaves out.
            scope = {**scope, "method": "GET"}
        app = self._app if refusal is None else response_of(refusal, scope["path"])

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                if scope["path"] != "/docs":
                    headers.setdefault("Content-Security-Policy", _POLICY)
            await send(message)

        await app(scope, self._counted(receive), hardened)

    def _counted(self, receive: Receive) -> Receive:
        """Of bodies that come in pieces nobody knows before how much there will be."""
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
    if any("\0" in value for value in Headers(scope=scope).values()):
        return InvalidHeader("A header has U+0000", errors=[FieldError("header:*", "U+0000")])
    return None
