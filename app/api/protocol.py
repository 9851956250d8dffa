"""Uvicorn's HTTP protocol with limits on each connection, and with correct framing for HTTP/1.0."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.api.connections import ClientConnections, ConnectionLimits
from app.api.problem_mapping import MEDIA_TYPE
from app.api.security_headers import HEADERS

HEAD_BYTES = 64 * 1024
# The minimum rate in bytes per second for a request body and for reading a response.
BYTES_PER_SECOND = 4 * 1024
# The maximum time for a whole body, as a multiple of the time allowed for its first byte.
LONGEST_BODY = 4
_TOO_LARGE = f"The request line and headers together may have at most {HEAD_BYTES} bytes."
_TOO_SLOW = "The body did not arrive in time. Send the request again over a faster connection."
_WITHOUT_CHUNKS = frozenset({"0.9", "1.0"})
_HOP_BY_HOP = frozenset({b"connection", b"transfer-encoding"})


class _Timer:
    """Calls `act` once after a delay, unless it is stopped first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
        self._loop = loop
        self._act = act
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        return self._handle is not None

    def start(self, seconds: float) -> None:
        self.stop()
        self._handle = self._loop.call_later(seconds, self._end)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _end(self) -> None:
        self._handle = None
        self._act()


class BoundedProtocol(HttpToolsProtocol):
    """Refuses excess connections and oversized request heads, and closes stalled connections.

    The head, the body and the reading of a response each have a time limit. The protocol counts the bytes of
    a head as they arrive, because the parser never returns a header that does not end.
    """

    open_connections: ClassVar[ClientConnections] = ClientConnections(ConnectionLimits())
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
        self._limits = self.open_connections.limits
        self._room = HEAD_BYTES
        self._in_body = False
        self._counting = False
        self._refused = False
        self._peer: str | None = None
        self._head = _Timer(self.loop, self._leave)
        self._body = _Timer(self.loop, self._check_body)
        self._body_began = 0.0
        self._body_bytes = 0
        self._reader = _Timer(self.loop, self._check_reader)
        self._unread = 0
        self._unread_cycle: RequestResponseCycle | None = None
        self._lingering = _Timer(self.loop, self._close)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else None
        refusal = self.open_connections.enter(self._peer)
        if refusal is None:
            # Start the timer here, because uvicorn waits without limit for the first byte of a connection.
            self._head.start(self.head_seconds)
        elif self.open_connections.is_flooded:
            transport.abort()
        else:
            self._refuse(refusal.status, refusal.detail)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_connections.leave(self._peer)
        for timer in (self._head, self._body, self._reader, self._lingering):
            timer.stop()
        super().connection_lost(exc)

    # --- the head ---

    def data_received(self, data: bytes) -> None:
        while data and not self._refused and not self.transport.is_closing():
            # Pass on only as much as the head may still have: a head that ends in this piece is small enough.
            piece, data = data[: self._room], data[self._room :]
            self._counting = not self._in_body
            super().data_received(piece)
            if self._counting:
                self._count(len(piece))
            elif self._in_body:
                self._await_body(len(piece))

    def on_headers_complete(self) -> None:
        self._counting = False
        self._in_body = True
        self._room = HEAD_BYTES
        self._head.stop()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._body.stop()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        detail = "The request is not valid HTTP."
        self.transport.write(_refusal(HTTPStatus.BAD_REQUEST, detail, self.server_state.default_headers))
        self.transport.close()

    def _count(self, received: int) -> None:
        self._room -= received
        if self._room <= 0:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TOO_LARGE)
        elif not self._head.is_running:
            self._head.start(self.head_seconds)

    def _leave(self) -> None:
        if self._is_answering():
            # During a response, the next request may already have arrived unread.
            self._head.start(self.head_seconds)
        else:
            self.transport.close()

    # --- the body ---

    def _await_body(self, received: int) -> None:
        if not self._body.is_running:
            self._body_began, self._body_bytes = self.loop.time(), 0
            self._body.start(self._limits.body_seconds)
        self._body_bytes += received

    def _check_body(self) -> None:
        """Refuse a body that arrives too slowly. Time while the broker has paused reading does not count."""
        first = self._limits.body_seconds
        if self.flow.read_paused:
            self._body_began = self.loop.time()
        allowed = min(first + self._body_bytes / BYTES_PER_SECOND, first * LONGEST_BODY)
        left = self._body_began + allowed - self.loop.time()
        if left > 0:
            self._body.start(left)
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, _TOO_SLOW)

    # --- the response ---

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        framed: Any = _Framed(cycle, app, self._linger)
        super()._start_asgi_task(cycle, framed)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Uvicorn hands over a whole response at once, so it is complete long before the client has read it.
        if not self._reader.is_running and self.transport.get_write_buffer_size():
            self._await_reader()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reader.stop()

    def _await_reader(self) -> None:
        self._unread, self._unread_cycle = self.transport.get_write_buffer_size(), self.cycle
        self._reader.start(self._limits.write_seconds)

    def _check_reader(self) -> None:
        """Abort if the client reads too slowly. Between requests, a small unread remainder is tolerated."""
        unread = self.transport.get_write_buffer_size()
        read, needed = self._unread - unread, 1
        if self.flow.write_paused:
            needed = min(self._unread, int(self._limits.write_seconds * BYTES_PER_SECOND))
        elif self._is_answering() or self.cycle is not self._unread_cycle:
            needed = read
        if unread and read < needed:
            self.transport.abort()
        elif unread:
            self._await_reader()

    # --- the end ---

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        is_next = self._in_body and not self.pipeline and not self.cycle.response_started
        if self._is_answering() and not is_next:
            # The response to an earlier request must be sent first.
            self._refused = True
            self.transport.close()
            return
        self.transport.write(_refusal(status, detail, self.server_state.default_headers))
        self._linger()

    def _linger(self) -> None:
        """Close the connection after a delay, because closing it with unread data would lose the response."""
        self._refused = True
        for timer in (self._head, self._body):
            timer.stop()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        if self._is_answering():
            # The client no longer waits for this response.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        self.transport.write_eof()
        self._lingering.start(self.linger_seconds)

    def _close(self) -> None:
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._await_reader()

    def _is_answering(self) -> bool:
        # None until the first request, although uvicorn declares otherwise.
        cycle: object = self.cycle
        return cycle is not None and not self.cycle.response_complete


def bounded_by(limits: ConnectionLimits) -> type[BoundedProtocol]:
    """The protocol class of one server. All its connections count towards the same limits."""

    class ServerProtocol(BoundedProtocol):
        open_connections = ClientConnections(limits)

    return ServerProtocol


class _Framed:
    """Wraps the application so that its responses are framed for the HTTP version of the request.

    Uvicorn would send chunks to HTTP/1.0 clients, which do not support them (RFC 9112 §7) and read until the
    connection closes. Uvicorn decides whether to close the connection, so the application's own Connection
    header is removed. A response that is sent before the body has arrived, such as a 401, closes the
    connection, because nothing reads the rest of the body.
    """

    def __init__(self, cycle: RequestResponseCycle, app: ASGIApp, linger: Callable[[], None]) -> None:
        self._cycle = cycle
        self._app = app
        self._linger = linger
        self._is_old = cycle.scope["http_version"] in _WITHOUT_CHUNKS
        self._until_close = self._is_early = False
        if self._is_old:
            # RFC 9110 §10.1.1.
            cycle.waiting_for_100_continue = False
            cycle.keep_alive = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_framed(message: Message) -> None:
            is_start = message["type"] == "http.response.start"
            if is_start:
                message = self._begin(message)
            elif self._until_close:
                self._cycle.expected_content_length = len(message.get("body", b""))
            if is_start or not self._is_early or message.get("more_body", False):
                await send(message)
                return
            # Uvicorn would close the connection at once.
            self._cycle.keep_alive = True
            await send(message)
            self._linger()

        await self._app(scope, receive, send_framed)

    def _begin(self, message: Message) -> Message:
        headers = [each for each in message.get("headers", ()) if each[0].lower() not in _HOP_BY_HOP]
        self._until_close = self._is_old and not any(name.lower() == b"content-length" for name, _ in headers)
        if self._until_close:
            self._cycle.chunked_encoding = False
        self._is_early = self._cycle.more_body
        if self._is_early:
            self._cycle.keep_alive = False
        return {**message, "headers": headers}


def _refusal(status: HTTPStatus, detail: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    document = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    body = json.dumps(document).encode()
    own = [
        *((name.lower().encode(), value.encode()) for name, value in HEADERS.items()),
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    lines = [b": ".join(header) + b"\r\n" for header in [*headers, *own]]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", body])
