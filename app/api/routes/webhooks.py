"""Webhooks: the receivers of a project's events."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Header, Request, Response
from fastapi.responses import JSONResponse

from app import errors
from app.api.addresses import address
from app.api.admission import Router
from app.api.dependencies import CallerDep, ServicesDep
from app.api.openapi import examples
from app.api.openapi.problem_responses import BODY_ERRORS, problem_responses
from app.api.pagination import DEFAULT_LIMIT, CursorQuery, LimitQuery, page_response, parse_cursor
from app.api.schemas.webhooks import (
    CreateWebhook,
    NewWebhook,
    RotateSecret,
    UpdateWebhook,
    Webhook,
    WebhookDelivery,
    WebhookEvent,
    WebhookPage,
    delivery_document,
    webhook_document,
)
from app.projects.webhooks import Webhook as StoredWebhook

router = Router(prefix="/v1/webhooks", tags=["webhooks"])

RECEIVER = (errors.InvalidReceiver, errors.ReceiverForbidden)
SECRET = (errors.InvalidSecret, errors.NoSecretKey)
DEFAULTS: dict[str, Any] = {"types": [], "description": "", "enabled": True}


@router.post(
    "",
    operation_id="create_webhook",
    status_code=201,
    response_model=NewWebhook,
    responses=problem_responses(*BODY_ERRORS, *RECEIVER, *SECRET, errors.TooManyWebhooks),
)
async def create_webhook(
    body: Annotated[CreateWebhook, Body(openapi_examples=examples.CREATE_WEBHOOK)],
    caller: CallerDep,
    services: ServicesDep,
) -> Response:
    """Create a webhook. The signing secret is shown only in this response."""
    webhook, secret = await services.webhooks.create(
        caller,
        body.url,
        kinds=body.types,
        description=body.description,
        enabled=body.enabled,
        secret=body.secret,
    )
    return _with_secret(webhook, secret, 201)


@router.get(
    "",
    operation_id="list_webhooks",
    response_model=WebhookPage,
    responses=problem_responses(errors.InvalidCursor),
)
async def list_webhooks(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: CursorQuery = None,
) -> Response:
    """List webhooks, newest first."""
    return await page_response(
        request,
        lambda before, number: services.webhooks.page(caller.project_id, before=before, limit=number),
        limit,
        webhook_document,
        before=parse_cursor(cursor),
    )


@router.get(
    "/{webhook_id}",
    operation_id="get_webhook",
    response_model=Webhook,
    responses=problem_responses(errors.WebhookNotFound),
)
async def get_webhook(webhook_id: UUID, caller: CallerDep, services: ServicesDep) -> Response:
    """Get one webhook, without its secret."""
    return JSONResponse(webhook_document(await services.webhooks.get(caller.project_id, webhook_id)))


@router.patch(
    "/{webhook_id}",
    operation_id="update_webhook",
    response_model=Webhook,
    responses=problem_responses(*BODY_ERRORS, *RECEIVER, errors.WebhookNotFound),
)
async def update_webhook(
    webhook_id: UUID,
    body: Annotated[UpdateWebhook, Body(openapi_examples=examples.UPDATE_WEBHOOK)],
    caller: CallerDep,
    services: ServicesDep,
) -> Response:
    """Change or disable a webhook (JSON Merge Patch, RFC 7396: null clears)."""
    changes = {
        name: DEFAULTS.get(name) if value is None else value
        for name, value in body.model_dump(exclude_unset=True).items()
    }
    return JSONResponse(
        webhook_document(await services.webhooks.update(caller.project_id, webhook_id, changes))
    )


@router.delete(
    "/{webhook_id}",
    operation_id="delete_webhook",
    status_code=204,
    response_class=Response,
    responses=problem_responses(errors.WebhookNotFound),
)
async def delete_webhook(webhook_id: UUID, caller: CallerDep, services: ServicesDep) -> Response:
    """Delete a webhook and its deliveries."""
    await services.webhooks.delete(caller.project_id, webhook_id)
    return Response(status_code=204)


@router.post(
    "/{webhook_id}/rotate",
    operation_id="rotate_webhook_secret",
    response_model=NewWebhook,
    responses=problem_responses(*BODY_ERRORS, *SECRET, errors.WebhookNotFound),
)
async def rotate_webhook_secret(
    webhook_id: UUID,
    caller: CallerDep,
    services: ServicesDep,
    body: Annotated[RotateSecret | None, Body(openapi_examples=examples.ROTATE_SECRET)] = None,
) -> Response:
    """Replace the secret. The new secret is shown only in this response.

    Events are also signed with the old secret for 24 hours. If a response is lost, repeat the call: each of
    the last four old secrets keeps signing for its 24 hours.
    """
    secret = body.secret if body is not None else None
    return _with_secret(*await services.webhooks.rotate(caller.project_id, webhook_id, secret))


@router.post(
    "/{webhook_id}/test",
    operation_id="test_webhook",
    status_code=202,
    response_model=WebhookDelivery,
    responses=problem_responses(errors.WebhookNotFound, errors.WebhookDisabled),
)
async def test_webhook(webhook_id: UUID, caller: CallerDep, services: ServicesDep) -> Response:
    """Send a `webhook.test` event to a webhook of any types. The response is the delivery."""
    return JSONResponse(delivery_document(await services.webhooks.test(caller, webhook_id)), 202)


# The request that the broker sends. It is only documented, so that receivers can be generated from it.
announced = APIRouter(tags=["webhooks"])


@announced.post(
    "event",
    operation_id="receive_event",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "The receiver accepted the event. Any other 2xx means the same."},
        410: {"description": "The receiver wants no more events. The broker disables the webhook."},
        "default": {
            "description": "The receiver did not accept the event. The broker retries for three days."
        },
    },
)
def receive_event(
    body: Annotated[WebhookEvent, Body(openapi_examples=examples.WEBHOOK_EVENT)],
    webhook_id: Annotated[str, Header(description="The id of the delivery, the same for each attempt.")],
    webhook_timestamp: Annotated[int, Header(description="The time of the request, in seconds since 1970.")],
    webhook_signature: Annotated[
        str, Header(description="One signature per secret, separated by spaces: `v1,` and base64.")
    ],
) -> None:
    """Receive an event. The broker posts each event to every webhook that subscribes to its type."""


def _with_secret(webhook: StoredWebhook, secret: str, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store"}
    if status == 201:  # noqa: PLR2004
        headers["Location"] = address(f"/v1/webhooks/{webhook.id}")
    return JSONResponse({**webhook_document(webhook), "secret": secret}, status, headers)
