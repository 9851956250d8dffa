"""Uvicorn's HTTP protocol with limits on the size and the duration of a request's head."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from app.api.problem_mapping import MEDIA_TYPE

HEAD_BYTES = 64 * 1024


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
        self.transport.write(_refusal(self.server_state.default_headers))
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


def _refusal(headers: list[tuple[bytes, bytes]]) -> bytes:
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    document = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": f"The request line and headers together may have at most {HEAD_BYTES} bytes.",
    }
    body = json.dumps(document).encode()
    own = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    lines = [b": ".join(header) + b"\r\n" for header in [*headers, *own]]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", body])
