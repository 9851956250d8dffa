"""Deliveries of events to a webhook, and their replay."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Request, Response
from fastapi.responses import JSONResponse

from app import errors
from app.api.admission import Router
from app.api.dependencies import CallerDep, ServicesDep
from app.api.openapi import examples
from app.api.openapi.problem_responses import BODY_ERRORS, problem_responses
from app.api.pagination import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    CursorQuery,
    LimitQuery,
    page_response,
    parse_cursor,
)
from app.api.schemas.webhooks import (
    ReplayDeliveries,
    Replayed,
    WebhookDelivery,
    WebhookDeliveryPage,
    delivery_document,
    parse_since,
)
from app.projects.deliveries import DeliveryState

router = Router(prefix="/v1/webhooks/{webhook_id}", tags=["webhooks"])


@router.get(
    "/deliveries",
    operation_id="list_webhook_deliveries",
    response_model=WebhookDeliveryPage,
    responses=problem_responses(errors.InvalidCursor, errors.WebhookNotFound),
)
async def list_webhook_deliveries(
    request: Request,
    webhook_id: UUID,
    caller: CallerDep,
    services: ServicesDep,
    state: DeliveryState | None = None,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: CursorQuery = None,
) -> Response:
    """List the deliveries of a webhook in the last 30 days, newest first."""
    return await page_response(
        request,
        lambda before, number: services.deliveries.page(
            caller.project_id, webhook_id, state=state, before=before, limit=number
        ),
        limit,
        delivery_document,
        before=parse_cursor(cursor),
    )


@router.get(
    "/deliveries/{delivery_id}",
    operation_id="get_webhook_delivery",
    response_model=WebhookDelivery,
    responses=problem_responses(errors.WebhookNotFound, errors.DeliveryNotFound),
)
async def get_webhook_delivery(
    webhook_id: UUID, delivery_id: UUID, caller: CallerDep, services: ServicesDep
) -> Response:
    """Get one delivery: its attempts and its outcome."""
    found = await services.deliveries.get(caller.project_id, webhook_id, delivery_id)
    return JSONResponse(delivery_document(found))


@router.post(
    "/deliveries/{delivery_id}/replay",
    operation_id="replay_webhook_delivery",
    status_code=202,
    response_model=WebhookDelivery,
    responses=problem_responses(
        errors.WebhookNotFound, errors.DeliveryNotFound, errors.WebhookDisabled, errors.DeliveryPending
    ),
)
async def replay_webhook_delivery(
    webhook_id: UUID, delivery_id: UUID, caller: CallerDep, services: ServicesDep
) -> Response:
    """Deliver an event again, with the same body and the same `webhook-id`, even if it was delivered."""
    again = await services.deliveries.replay(caller.project_id, webhook_id, delivery_id)
    return JSONResponse(delivery_document(again), 202)


@router.post(
    "/replay",
    operation_id="replay_webhook_deliveries",
    status_code=202,
    response_model=Replayed,
    responses=problem_responses(*BODY_ERRORS, errors.WebhookNotFound, errors.WebhookDisabled),
)
async def replay_webhook_deliveries(
    webhook_id: UUID,
    caller: CallerDep,
    services: ServicesDep,
    body: Annotated[ReplayDeliveries | None, Body(openapi_examples=examples.REPLAY_DELIVERIES)] = None,
) -> Response:
    """Replay failed deliveries, oldest first, for example after an outage of the receiver.

    One call replays at most 200 deliveries. While the response has a `next_since`, call again with it as
    `since`.
    """
    body = body or ReplayDeliveries()
    since = parse_since(body.since) if body.since is not None else None
    replayed, rest = await services.deliveries.replay_many(
        caller.project_id, webhook_id, set(body.states), since=since, limit=MAX_LIMIT
    )
    next_since = str(rest) if rest is not None else None
    return JSONResponse({"replayed": replayed, "more": rest is not None, "next_since": next_since}, 202)
