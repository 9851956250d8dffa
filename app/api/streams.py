"""What streams of Server-Sent Events share (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Header

from app.errors import FieldError, InvalidHeader

EVENT_STREAM: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
LARGEST_EVENT_ID = 10**18 - 1

_EVENT_ID = re.compile(r"[0-9]{1,18}", re.ASCII)

LastEventIdHeader = Annotated[
    str | None, Header(alias="Last-Event-ID", description="Resume after this event.")
]


def parse_last_event_id(text: str | None) -> int | None:
    if text is None:
        return None
    if not _EVENT_ID.fullmatch(text):
        detail = "Last-Event-ID is the id of an event of this stream"
        raise InvalidHeader(detail, errors=[FieldError("header:Last-Event-ID", detail)])
    return int(text)
