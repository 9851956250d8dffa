"""Uvicorn's HTTP protocol with limits on a request's head, and with the framing of HTTP/1.0."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.api.problem_mapping import MEDIA_TYPE

HEAD_BYTES = 64 * 1024
_TOO_LARGE = f"The request line and headers together may have at most {HEAD_BYTES} bytes."
_WITHOUT_CHUNKS = frozenset({"0.9", "1.0"})
_HOP_BY_HOP = frozenset({b"connection", b"transfer-encoding"})


class BoundedProtocol(HttpToolsProtocol):
    """Rejects request heads that are too large and closes connections that are too slow to send one.

    It counts the bytes that arrive, because a header without an end is never parsed.
    """

    head_seconds = 10.0
    # How long a rejected caller may keep sending before the connection is closed.
    linger_seconds = 2.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._room = HEAD_BYTES
        self._in_body = False
        self._counting = False
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Start here, because uvicorn waits without limit for the first byte of a new connection.
        self._await_head()

    def data_received(self, data: bytes) -> None:
        while data and not self._refused and not self.transport.is_closing():
            # Pass on only as much as the head may still have: a head that ends in this piece is small enough.
            piece, data = data[: self._room], data[self._room :]
            self._counting = not self._in_body
            super().data_received(piece)
            if self._counting:
                self._count(len(piece))

    def on_headers_complete(self) -> None:
        self._counting = False
        self._in_body = True
        self._room = HEAD_BYTES
        self._forget_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, _framed(cycle, app))

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        detail = "The request is not valid HTTP."
        self.transport.write(_refusal(HTTPStatus.BAD_REQUEST, detail, self.server_state.default_headers))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def _count(self, received: int) -> None:
        self._room -= received
        if self._room <= 0:
            self._refuse()
        elif self._deadline is None:
            self._await_head()

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_seconds, self._leave)

    def _leave(self) -> None:
        if self._is_answering():
            # During a response, the next request may already have arrived unread.
            self._await_head()
        else:
            self.transport.close()

    def _refuse(self) -> None:
        self._refused = True
        self._forget_deadline()
        if self._is_answering():
            self.transport.close()
            return
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self.transport.write(_refusal(status, _TOO_LARGE, self.server_state.default_headers))
        # Closing with unread data would reset the connection and lose the response.
        self.transport.write_eof()
        self._deadline = self.loop.call_later(self.linger_seconds, self.transport.close)

    def _is_answering(self) -> bool:
        # None until the first request, although uvicorn declares otherwise.
        cycle: object = self.cycle
        return cycle is not None and not self.cycle.response_complete

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _framed(cycle: RequestResponseCycle, app: ASGIApp) -> Any:
    """The application with its responses framed for the version of the request.

    Uvicorn would send chunks to clients of HTTP/1.0, which know none (RFC 9112 §7) and read until the end of
    the connection. Whether it closes is for Uvicorn to say, so no response has its own Connection header.
    """
    is_old = cycle.scope["http_version"] in _WITHOUT_CHUNKS
    if is_old:
        # RFC 9110 §10.1.1.
        cycle.waiting_for_100_continue = False
        cycle.keep_alive = False
    until_close = False

    async def framed(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_framed(message: Message) -> None:
            nonlocal until_close
            if message["type"] == "http.response.start":
                headers = [each for each in message.get("headers", ()) if each[0].lower() not in _HOP_BY_HOP]
                until_close = is_old and not any(name.lower() == b"content-length" for name, _ in headers)
                if until_close:
                    cycle.chunked_encoding = False
                message = {**message, "headers": headers}
            elif until_close:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_framed)

    return framed


def _refusal(status: HTTPStatus, detail: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    document = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    body = json.dumps(document).encode()
    own = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    lines = [b": ".join(header) + b"\r\n" for header in [*headers, *own]]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", body])
