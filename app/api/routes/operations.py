"""Operations: read, stream and cancel long-running work."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse
from sse_starlette import EventSourceResponse, ServerSentEvent

from app import errors
from app.api.admission import Router
from app.api.dependencies import BrokerServices, CallerDep, ServicesDep
from app.api.openapi.problem_responses import problem_responses
from app.api.pagination import DEFAULT_LIMIT, CursorQuery, LimitQuery, page_response, parse_cursor
from app.api.preferences import OptionalWaitDep
from app.api.problem_mapping import problem_of
from app.api.schemas.operations import Operation, OperationPage, operation_document
from app.api.streams import EVENT_STREAM, LastEventIdHeader, OperationStreamDep, Stream, parse_last_event_id
from app.oci.timestamps import rfc3339
from app.operations.operation import Operation as StoredOperation
from app.operations.operation import OperationFilter
from app.operations.states import Kind, State

router = Router(prefix="/v1/operations", tags=["operations"])


@router.get(
    "",
    operation_id="list_operations",
    response_model=OperationPage,
    responses=problem_responses(errors.InvalidCursor),
)
async def list_operations(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    state: State | None = None,
    kind: Annotated[
        Kind | None, Query(description="Deliveries of events are listed only with `deliver`.")
    ] = None,
    list_id: UUID | None = None,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: CursorQuery = None,
) -> Response:
    """List operations, newest first."""
    wanted = OperationFilter(state, kind, list_id)
    return await page_response(
        request,
        lambda before, number: services.operations.page(
            caller.project_id, wanted, before=before, limit=number
        ),
        limit,
        operation_document,
        before=parse_cursor(cursor),
    )


@router.get(
    "/{operation_id}",
    operation_id="get_operation",
    response_model=Operation,
    responses=problem_responses(errors.OperationNotFound),
)
async def get_operation(
    operation_id: UUID,
    caller: CallerDep,
    services: ServicesDep,
    wait: OptionalWaitDep,
) -> Response:
    """Get one operation: state, progress and result. `Prefer: wait=N` waits up to N seconds for its end."""
    operation = await services.operations.get(caller.project_id, operation_id)
    if not operation.state.ended and wait.seconds > 0:
        async with wait.unless_revoked():
            operation = await services.operations.wait(operation, wait.seconds)
    headers = {} if operation.state.ended else {"Retry-After": "1"}
    if wait.applied is not None and not wait.is_async:
        headers["Preference-Applied"] = wait.applied
    return JSONResponse(operation_document(operation), headers=headers)


@router.get(
    "/{operation_id}/events",
    operation_id="stream_operation",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": (
                "Server-Sent Events: `queued`, `running`, `progress`, `retrying`, `parked` and "
                "`cancel_requested`, and finally `succeeded`, `failed` or `cancelled`. "
                "Each has an id to resume after."
            ),
            "content": EVENT_STREAM,
        },
        204: {"description": "The operation has ended, and `Last-Event-ID` is its last event."},
        **problem_responses(errors.OperationNotFound, errors.TooManyStreams),
    },
)
async def stream_operation(
    operation_id: UUID,
    caller: CallerDep,
    services: ServicesDep,
    unless_revoked: OperationStreamDep,
    last_event_id: LastEventIdHeader = None,
) -> Response:
    """Stream the events of an operation, from the first or after `Last-Event-ID`, until it ends."""
    after = parse_last_event_id(last_event_id) or 0
    # Look it up before the stream begins, so that an unknown operation is a problem, not an empty stream.
    operation = await services.operations.get(caller.project_id, operation_id)
    if operation.state.ended and await _has_sent_all(services, operation, after):
        # Clients do not reconnect after 204 (HTML §9.2.2), but they do after a stream that ends.
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return Stream(_events(services, caller.project_id, operation_id, after), unless_revoked)


@router.post(
    "/{operation_id}/cancel",
    operation_id="cancel_operation",
    response_model=Operation,
    responses=problem_responses(errors.OperationNotFound, errors.OperationEnded),
)
async def cancel_operation(operation_id: UUID, caller: CallerDep, services: ServicesDep) -> Response:
    """Cancel an operation: a queued one at once, a running one when its worker receives the request."""
    operation = await services.operations.cancel(caller.project_id, operation_id)
    return JSONResponse(operation_document(operation))


async def _has_sent_all(services: BrokerServices, ended: StoredOperation, after: int) -> bool:
    async with aclosing(services.operations.stream(ended.project_id, ended.id, after)) as events:
        return await anext(events, None) is None


async def _events(
    services: BrokerServices, project_id: UUID, operation_id: UUID, after: int
) -> AsyncIterator[ServerSentEvent]:
    async with aclosing(services.operations.stream(project_id, operation_id, after)) as events:
        async for event in events:
            data = {
                **event.data,
                "operation_id": str(operation_id),
                "at": rfc3339(event.created_at),
            }
            if data.get("problem") is not None:
                data["problem"] = problem_of(data["problem"])
            yield ServerSentEvent(json.dumps(data), event=event.kind, id=str(event.id))
