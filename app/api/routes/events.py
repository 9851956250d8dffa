"""Events of a project: stream them, or list past events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from app import errors
from app.api.admission import Router
from app.api.dependencies import BrokerServices, CallerDep, ServicesDep
from app.api.filters import WholeNumber
from app.api.openapi.problem_responses import problem_responses
from app.api.pagination import (
    DEFAULT_LIMIT,
    LimitQuery,
    NumberCursorQuery,
    numbered_page_response,
    parse_number_cursor,
)
from app.api.schemas.common import Text
from app.api.schemas.events import ProjectEventPage, event_document
from app.api.streams import (
    EVENT_STREAM,
    LARGEST_EVENT_ID,
    LastEventIdHeader,
    ProjectStreamDep,
    Stream,
    parse_last_event_id,
)
from app.lists.events import EventFilter, EventKind
from app.services.callers import Caller

router = Router(prefix="/v1/events", tags=["events"])


def _wanted(
    kinds: Annotated[
        list[EventKind] | None,
        Query(alias="type", description="Types of events. Repeat it for several types."),
    ] = None,
    list_id: UUID | None = None,
    session: Text | None = None,
) -> EventFilter:
    return EventFilter(frozenset(kinds or ()), list_id, session)


WantedDep = Annotated[EventFilter, Depends(_wanted)]


@router.get(
    "",
    operation_id="stream_events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": (
                "Server-Sent Events. The name of each event is its `type`, the id is its id, and the data is "
                "the JSON of a `ProjectEvent`. The stream begins with an id alone: its starting position."
            ),
            "content": EVENT_STREAM,
        },
        **problem_responses(errors.TooManyStreams),
    },
)
async def stream_events(
    caller: CallerDep,
    services: ServicesDep,
    wanted: WantedDep,
    unless_revoked: ProjectStreamDep,
    last_event_id: LastEventIdHeader = None,
    after: Annotated[
        WholeNumber | None,
        Query(
            ge=0,
            le=LARGEST_EVENT_ID,
            description="Like `Last-Event-ID`, for clients that can't send it; 0 starts at the first event.",
        ),
    ] = None,
) -> Response:
    """Stream the events of the project from now on, or after `Last-Event-ID`. The stream does not end."""
    resumed = parse_last_event_id(last_event_id)
    # Found before the response begins, so that the caller misses no event after its head.
    start = await services.events.find_start(caller.project_id, resumed if resumed is not None else after)
    return Stream(_events(services, caller, start, wanted), unless_revoked)


@router.get(
    "/history",
    operation_id="list_events",
    response_model=ProjectEventPage,
    responses=problem_responses(errors.InvalidCursor),
)
async def list_events(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    wanted: WantedDep,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: NumberCursorQuery = None,
) -> Response:
    """List the events of the last 30 days, newest first."""
    return await numbered_page_response(
        request,
        lambda before, number: services.events.page(caller.project_id, wanted, before=before, limit=number),
        limit,
        lambda each: event_document(each, caller.project),
        before=parse_number_cursor(cursor),
    )


async def _events(
    services: BrokerServices, caller: Caller, start: int, wanted: EventFilter
) -> AsyncIterator[ServerSentEvent]:
    # A client remembers an id without data but dispatches no event. If the connection breaks before the first
    # event, the client resumes where the stream began and not at a later "now".
    yield ServerSentEvent(id=str(start))
    async with aclosing(services.events.stream(caller, start, wanted)) as events:
        async for event in events:
            data = json.dumps(event_document(event, caller.project))
            yield ServerSentEvent(data, event=event.kind.value, id=str(event.id))
