"""W3C Trace Context: continues the trace of the caller, or starts a new one."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import in_trace

__all__ = ["TraceContext", "Tracing", "parse_traceparent"]

# Trace Context, section 3.2: lower case; all zeros are invalid; a future version may append fields.
_TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace_id>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?",
    re.ASCII,
)
# Section 3.2.2.5: only these flags are known, and only these are passed on.
_KNOWN_FLAGS = 0x03


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The parts of a traceparent that the broker uses."""

    trace_id: str
    flags: int = 0


def parse_traceparent(header: str | None) -> TraceContext | None:
    """None if the header is missing or not valid; both mean the same (section 3.2)."""
    found = _TRACEPARENT.fullmatch(header or "")
    if found is None or (found["version"] == "00" and found["more"] is not None):
        return None
    return TraceContext(found["trace_id"], int(found["flags"], 16) & _KNOWN_FLAGS)


class Tracing:
    """Sets the trace of each request for log lines and operations, and returns it in `traceresponse`.

    The trace is not sent to registries.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = _context(scope)

        async def traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                span_id = secrets.token_hex(8)
                value = f"00-{context.trace_id}-{span_id}-{context.flags:02x}"
                MutableHeaders(scope=message).setdefault("traceresponse", value)
            await send(message)

        with in_trace(context.trace_id):
            await self._app(scope, receive, traced)


def _context(scope: Scope) -> TraceContext:
    sent = Headers(scope=scope).getlist("traceparent")
    # Several traceparent headers count as none (section 3.2).
    parent = parse_traceparent(sent[0]) if len(sent) == 1 else None
    return parent or TraceContext(secrets.token_hex(16))
