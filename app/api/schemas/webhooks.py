"""Webhooks and their deliveries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.api.problem_mapping import problem_of
from app.api.schemas.checks import checked
from app.api.schemas.common import Body, Document, JsonObject, ShortText, Text
from app.api.schemas.problems import Problem
from app.errors import InvalidInput
from app.lists.events import EventKind
from app.oci.timestamps import rfc3339
from app.projects.deliveries import Delivery as StoredDelivery
from app.projects.deliveries import DeliveryState
from app.projects.webhooks import Webhook as StoredWebhook
from app.services.webhooks.sender import parse_address, shown_address
from app.services.webhooks.signing import parse_secret

ReceiverUrl = TypeAliasType(
    "ReceiverUrl",
    Annotated[
        str,
        StringConstraints(max_length=2048),
        checked(parse_address),
        Field(description="The URL to post events to: https, unless the operator allows http for the host."),
    ],
)
# JSON has strings where Python has members of an enumeration.
EventKinds = TypeAliasType(
    "EventKinds",
    Annotated[
        list[Annotated[EventKind, Field(strict=False)]],
        Field(max_length=64, description="The types of events to send. An empty list sends all."),
    ],
)
SigningSecret = TypeAliasType(
    "SigningSecret",
    Annotated[
        str,
        StringConstraints(max_length=128),
        checked(parse_secret),
        Field(
            description="`whsec_` and base64 of 24 to 64 random bytes. By default, the broker generates one."
        ),
    ],
)


_EVENT_ID = re.compile(r"[0-9]{1,18}", re.ASCII)


def _needed(url: str | None) -> str:
    if url is None:
        raise ValueError("A webhook needs a URL. Send another URL instead of null.")
    return url


def parse_since(text: str) -> int | datetime:
    """The id of an event, or a time."""
    if _EVENT_ID.fullmatch(text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidInput(
        "The member since must be the id of an event, or a time with an offset such as 2026-07-01T12:00:00Z."
    )


def _check_states(states: Sequence[DeliveryState]) -> None:
    if DeliveryState.PENDING in states:
        raise InvalidInput("Pending deliveries can't be replayed. Send the states delivered or failed.")


class CreateWebhook(Body):
    """A new webhook."""

    url: ReceiverUrl
    types: EventKinds = Field(default_factory=list)
    description: ShortText = ""
    enabled: bool = True
    secret: SigningSecret | None = None


class UpdateWebhook(Body):
    """Changes to a webhook. In a PATCH, null resets a member to its default (RFC 7396), except `url`."""

    url: Annotated[ReceiverUrl | None, AfterValidator(_needed)] = None
    types: EventKinds | None = None
    description: ShortText | None = None
    enabled: bool | None = None


class RotateSecret(Body):
    """A secret to use instead of a generated one."""

    secret: SigningSecret | None = None


class ReplayDeliveries(Body):
    """The deliveries to replay. The default is all failed deliveries."""

    since: Annotated[Text, checked(parse_since)] | None = Field(
        None,
        description="The id of an event, or a time (RFC 3339). Older deliveries are not replayed.",
        examples=["4711"],
    )
    states: Annotated[list[Annotated[DeliveryState, Field(strict=False)]], checked(_check_states)] = Field(
        default_factory=lambda: [DeliveryState.FAILED], max_length=8
    )


class Webhook(Document):
    """A receiver of events."""

    id: str
    url: str = Field(description="The address, without the values of its query. An update may send it back.")
    types: list[EventKind]
    description: str
    enabled: bool = Field(
        description="Whether events are sent. A receiver that answers 410 disables its webhook."
    )
    created_by: str
    created_at: str


class NewWebhook(Webhook):
    secret: str = Field(description="The signing secret, shown only in this response (Standard Webhooks).")


class WebhookEvent(Document):
    """The body that is posted to a receiver (Standard Webhooks)."""

    type: EventKind
    timestamp: str = Field(description="The time of the event.")
    data: JsonObject


class WebhookPage(Document):
    items: list[Webhook]
    next_cursor: str | None = None


class WebhookDelivery(Document):
    """The delivery of one event to one webhook. Its id is the `webhook-id` of each attempt."""

    id: str
    webhook_id: str
    event_id: str
    event_type: EventKind
    state: DeliveryState
    attempts: int = Field(description="The number of requests so far.")
    last_status: int | None = Field(None, description="The last status of the receiver, if it answered.")
    problem: Problem | None = Field(None, description="Why the last request failed.")
    operation_id: str | None = Field(
        None,
        description="The operation that delivers the event, once it is queued. A webhook has at most 1000.",
    )
    created_at: str
    delivered_at: str | None = None
    next_at: str | None = Field(None, description="The time of the next attempt.")


class WebhookDeliveryPage(Document):
    items: list[WebhookDelivery]
    next_cursor: str | None = None


class Replayed(Document):
    """The result of a replay."""

    replayed: int
    more: bool = Field(description="Whether more deliveries remain. If so, call again with `next_since`.")
    next_since: str | None = Field(None, description="The `since` of the next call. Send the same `states`.")


def webhook_document(webhook: StoredWebhook) -> dict[str, Any]:
    return {
        "id": str(webhook.id),
        "url": shown_address(webhook.url),
        "types": [kind.value for kind in webhook.kinds],
        "description": webhook.description,
        "enabled": webhook.enabled,
        "created_by": webhook.created_by,
        "created_at": rfc3339(webhook.created_at),
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
        "created_at": rfc3339(delivery.created_at),
        "delivered_at": rfc3339(delivery.delivered_at),
        "next_at": rfc3339(delivery.next_at),
    }
