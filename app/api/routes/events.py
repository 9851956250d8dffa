"""What happens in a project: followed as it happens, or looked up."""

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
from app.api.openapi.problem_responses import problem_responses
from app.api.pagination import (
    DEFAULT_LIMIT,
    CursorQuery,
    LimitQuery,
    numbered_page_response,
    parse_number_cursor,
)
from app.api.schemas.common import Text
from app.api.schemas.events import ProjectEventPage, event_document
from app.api.streams import EVENT_STREAM, LARGEST_EVENT_ID, LastEventIdHeader, Stream, parse_last_event_id
from app.lists.events import EventKind
from app.services.callers import Caller
from app.store.events import EventFilter

router = Router(prefix="/v1/events", tags=["events"])


def _wanted(
    kinds: Annotated[list[EventKind] | None, Query(alias="type", description="May be repeated.")] = None,
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
                "Server-Sent Events: each has its `type` as the event's name, its id, and as data the JSON "
                "of a `ProjectEvent`. The first line tells an id without any event: where the stream begins."
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
    last_event_id: LastEventIdHeader = None,
    after: Annotated[
        int | None,
        Query(
            ge=0,
            le=LARGEST_EVENT_ID,
            description="The same for callers that can't send the header; 0 is before the first event.",
        ),
    ] = None,
) -> Response:
    """What happens in the project from now on, or after `Last-Event-ID`; it does not end by itself."""
    resumed = parse_last_event_id(last_event_id)
    # Before the answer begins, so that whoever has its head misses nothing that comes then.
    newest = await services.events.newest(caller.project_id)
    start = resumed if resumed is not None else after
    # An id that is yet to come is of another broker, or of a database that was set back: who waited for it
    # would be told nothing until then.
    start = newest if start is None else min(start, newest)
    return Stream(_events(services, caller, start, wanted))


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
    cursor: CursorQuery = None,
) -> Response:
    """Page through what happened in the last 30 days, newest first."""
    found = await services.events.page(
        caller.project_id, wanted, before=parse_number_cursor(cursor), limit=limit + 1
    )
    return numbered_page_response(request, found, limit, lambda each: event_document(each, caller.project))


async def _events(
    services: BrokerServices, caller: Caller, start: int, wanted: EventFilter
) -> AsyncIterator[ServerSentEvent]:
    # An id alone is remembered by its reader and dispatched to nobody: who is cut off before the first event
    # comes back to where the stream began, and not to a later "now".
    yield ServerSentEvent(id=str(start))
    async with aclosing(services.events.stream(caller, start, wanted)) as events:
        async for event in events:
            data = json.dumps(event_document(event, caller.project))
            yield ServerSentEvent(data, event=event.kind.value, id=str(event.id))
