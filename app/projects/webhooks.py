"""Webhooks: which events go to which address."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.lists.events import EventKind


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """A webhook to store; without `kinds` it receives every event."""

    id: UUID
    project_id: UUID
    url: str
    kinds: tuple[EventKind, ...]
    description: str
    enabled: bool
    secret: bytes = field(repr=False)
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook(NewWebhook):
    """A stored webhook; the `previous_secret` still signs for a while after a rotation."""

    previous_secret: bytes | None = field(repr=False)
    rotated_at: datetime | None
    created_at: datetime
