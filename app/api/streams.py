"""Streams of Server-Sent Events (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Header
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from app.api.dependencies import CallerDep, ServicesDep
from app.api.schemas.checks import checked
from app.errors import FieldError, InvalidHeader, Unauthenticated
from app.services.stream_slots import StreamKind

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


# A context manager that stops its block once the caller's token is revoked.
UnlessRevoked = Callable[[], AbstractAsyncContextManager[None]]


def _place(kind: StreamKind) -> Callable[..., AsyncIterator[UnlessRevoked]]:
    """A dependency that holds a stream slot until the response ends. It takes the slot before any await."""

    async def hold(caller: CallerDep, services: ServicesDep) -> AsyncIterator[UnlessRevoked]:
        with services.stream_slots.take(caller.project_id, kind):
            yield partial(services.revocations.unless_revoked, caller.token_id)

    return hold


ProjectStreamDep = Annotated[UnlessRevoked, Depends(_place(StreamKind.PROJECT))]
OperationStreamDep = Annotated[UnlessRevoked, Depends(_place(StreamKind.OPERATION))]


class Stream(EventSourceResponse):
    """A Server-Sent Events stream that ends when its client stops reading or its token is revoked."""

    def __init__(
        self,
        events: AsyncIterator[ServerSentEvent],
        unless_revoked: UnlessRevoked,
        *,
        send_timeout: float = SEND_SECONDS,
    ) -> None:
        self._unless_revoked = unless_revoked
        super().__init__(events, sep="\n", send_timeout=send_timeout, shutdown_grace_period=CUT_AFTER_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._unless_revoked():
                await super().__call__(scope, receive, send)
        except Unauthenticated:
            # A client that does not read gets no final chunk.
            with suppress(TimeoutError):
                async with asyncio.timeout(CUT_AFTER_SECONDS):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        except SendTimeoutError:
            logger.info("The reader of a stream does not read; the stream is closed: %s", scope["path"])
