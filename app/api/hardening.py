"""What is asked of every request and said with every answer, whatever the route."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import response_of
from app.errors import BrokerError, FieldError, InvalidHeader, UnsupportedBody

# Nothing here is a page, so nothing a browser is given may run, but for the API's own documentation.
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_WITH_BODY = frozenset({"POST", "PATCH", "PUT"})
_JSON = frozenset({"application/json", "application/merge-patch+json"})


class Hardening:
    """Refuses bodies in other forms than JSON, and keeps browsers from taking answers for something else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = _refuse(scope)
        app = self._app if refusal is None else response_of(refusal, scope["path"])

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                if scope["path"] != "/docs":
                    headers.setdefault("Content-Security-Policy", _POLICY)
            await send(message)

        await app(scope, receive, hardened)


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
