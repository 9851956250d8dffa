"""Streams of Server-Sent Events (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Header
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from app.api.schemas.checks import checked
from app.errors import FieldError, InvalidHeader

logger = logging.getLogger(__name__)

EVENT_STREAM: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
LARGEST_EVENT_ID = 10**18 - 1
# A stream ends when the process stops; if its reader does not read, the stream is closed after this time.
CUT_AFTER_SECONDS = 2.0

_EVENT_ID = re.compile(r"[0-9]{1,18}", re.ASCII)

# A reader that does not read for this long is disconnected, and can resume with the last id.
# A comment is sent every 15 s.
SEND_SECONDS = 30.0


def parse_last_event_id(text: str | None) -> int | None:
    if text is None:
        return None
    if not _EVENT_ID.fullmatch(text):
        detail = "Last-Event-ID must be the id of an event of this stream."
        raise InvalidHeader(detail, errors=[FieldError("header:Last-Event-ID", detail)])
    return int(text)


LastEventIdHeader = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID", description="The id of the last event received; the stream resumes after it."
    ),
    checked(parse_last_event_id),
]


class Stream(EventSourceResponse):
    """A stream of Server-Sent Events that ends when its reader stops reading."""

    def __init__(self, events: AsyncIterator[ServerSentEvent], *, send_timeout: float = SEND_SECONDS) -> None:
        super().__init__(events, sep="\n", send_timeout=send_timeout, shutdown_grace_period=CUT_AFTER_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            logger.info("The reader of a stream does not read; the stream is closed: %s", scope["path"])
