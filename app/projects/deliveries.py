"""Deliveries of events to webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.lists.events import EventKind


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook.

    `attempts` counts the requests so far, and `next_at` is the time of the next one. A delivery that is
    pending without an operation waits behind others of its webhook.
    """

    id: UUID
    project_id: UUID
    webhook_id: UUID
    event_id: int
    event_kind: EventKind
    state: DeliveryState
    attempts: int
    last_status: int | None
    problem: Mapping[str, Any] | None
    operation_id: UUID | None
    created_at: datetime
    delivered_at: datetime | None
    next_at: datetime | None
