"""What streams of Server-Sent Events share (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Header
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from app.errors import FieldError, InvalidHeader

logger = logging.getLogger(__name__)

EVENT_STREAM: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
LARGEST_EVENT_ID = 10**18 - 1
# A stream ends by itself when the process stops; one whose reader takes nothing is cut then.
CUT_AFTER_SECONDS = 2.0

_EVENT_ID = re.compile(r"[0-9]{1,18}", re.ASCII)

# Who takes nothing for so long is cut off, and may come back with the last id; a comment comes every 15 s.
SEND_SECONDS = 30.0

LastEventIdHeader = Annotated[
    str | None, Header(alias="Last-Event-ID", description="Resume after this event.")
]


class Stream(EventSourceResponse):
    """Server-Sent Events for as long as they are read."""

    def __init__(self, events: AsyncIterator[ServerSentEvent], *, send_timeout: float = SEND_SECONDS) -> None:
        super().__init__(events, sep="\n", send_timeout=send_timeout, shutdown_grace_period=CUT_AFTER_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            logger.info("A stream ends that nobody reads: %s", scope["path"])


def parse_last_event_id(text: str | None) -> int | None:
    if text is None:
        return None
    if not _EVENT_ID.fullmatch(text):
        detail = "Last-Event-ID is the id of an event of this stream"
        raise InvalidHeader(detail, errors=[FieldError("header:Last-Event-ID", detail)])
    return int(text)
