"""Webhooks and their deliveries."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints
from typing_extensions import TypeAliasType

from app.api.problem_mapping import problem_of
from app.api.schemas.common import Body, Document, JsonObject, ShortText, Text
from app.api.schemas.problems import Problem
from app.lists.events import EventKind
from app.projects.deliveries import Delivery as StoredDelivery
from app.projects.deliveries import DeliveryState
from app.projects.webhooks import Webhook as StoredWebhook
from app.services.documents import instant

ReceiverUrl = TypeAliasType(
    "ReceiverUrl",
    Annotated[
        str,
        StringConstraints(max_length=2048),
        Field(description="Where events are posted to. https, unless the operator allows less for the host."),
    ],
)
# JSON has only texts for what are members of an enumeration here.
EventKinds = TypeAliasType(
    "EventKinds",
    Annotated[
        list[Annotated[EventKind, Field(strict=False)]],
        Field(max_length=64, description="What it is told of; of everything when there are none."),
    ],
)
SigningSecret = TypeAliasType(
    "SigningSecret",
    Annotated[
        str,
        StringConstraints(max_length=128),
        Field(description="`whsec_` and base64 of 24 to 64 random bytes; without it one is made."),
    ],
)


class CreateWebhook(Body):
    """Who is to be told, and of what."""

    url: ReceiverUrl
    types: EventKinds = Field(default_factory=list)
    description: ShortText = ""
    enabled: bool = True
    secret: SigningSecret | None = None


class UpdateWebhook(Body):
    """What changes. In a PATCH null puts a member back to its default (RFC 7396); the address has none."""

    url: ReceiverUrl | None = None
    types: EventKinds | None = None
    description: ShortText | None = None
    enabled: bool | None = None


class RotateSecret(Body):
    """A secret of the caller's own, if it is not to be made."""

    secret: SigningSecret | None = None


class ReplayDeliveries(Body):
    """Which deliveries to make again: those that failed, if nothing else is said."""

    since: Text | None = Field(
        None, description="The id of an event, or a time (RFC 3339): nothing older.", examples=["4711"]
    )
    states: list[Annotated[DeliveryState, Field(strict=False)]] = Field(
        default_factory=lambda: [DeliveryState.FAILED], max_length=8
    )


class Webhook(Document):
    """Someone who is told."""

    id: str
    url: str
    types: list[EventKind]
    description: str
    enabled: bool = Field(description="A receiver that answers 410 disables its webhook.")
    created_by: str
    created_at: str


class NewWebhook(Webhook):
    secret: str = Field(description="Shown this once; it verifies what is sent (Standard Webhooks).")


class WebhookEvent(Document):
    """What is posted to a receiver (Standard Webhooks)."""

    type: EventKind
    timestamp: str = Field(description="When it happened.")
    data: JsonObject


class WebhookPage(Document):
    items: list[Webhook]
    next_cursor: str | None = None


class WebhookDelivery(Document):
    """One event on its way to one webhook. Its id is the `webhook-id` of each request that is made for it."""

    id: str
    webhook_id: str
    event_id: str
    event_type: EventKind
    state: DeliveryState
    attempts: int = Field(description="Requests that were made.")
    last_status: int | None = Field(None, description="What the receiver answered last, if it did.")
    problem: Problem | None = Field(None, description="Why the last request did not do.")
    operation_id: str | None = Field(
        None, description="What brings it, once it is its turn; a webhook has at most 1000 of these."
    )
    created_at: str
    delivered_at: str | None = None
    next_at: str | None = Field(None, description="When there will be another request.")


class WebhookDeliveryPage(Document):
    items: list[WebhookDelivery]
    next_cursor: str | None = None


class Replayed(Document):
    """What was begun again."""

    replayed: int
    more: bool = Field(description="There are more than are begun at once: call again with `next_since`.")
    next_since: str | None = Field(
        None, description="The `since` of the next call; its `states` are the same."
    )


def webhook_document(webhook: StoredWebhook) -> dict[str, Any]:
    return {
        "id": str(webhook.id),
        "url": webhook.url,
        "types": [kind.value for kind in webhook.kinds],
        "description": webhook.description,
        "enabled": webhook.enabled,
        "created_by": webhook.created_by,
        "created_at": instant(webhook.created_at),
    }


def delivery_document(delivery: StoredDelivery) -> dict[str, Any]:
    return {
        "id": str(delivery.id),
        "webhook_id": str(delivery.webhook_id),
        "event_id": str(delivery.event_id),
        "event_type": delivery.event_kind.value,
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "last_status": delivery.last_status,
        "problem": problem_of(delivery.problem),
        "operation_id": str(delivery.operation_id) if delivery.operation_id else None,
        "created_at": instant(delivery.created_at),
        "delivered_at": instant(delivery.delivered_at),
        "next_at": instant(delivery.next_at),
    }
