"""Webhooks: which events go to which address."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.lists.events import EventKind


@dataclass(frozen=True, slots=True)
class Webhook:
    """Without `kinds` it receives every event; `previous_secret` still signs for a while after a rotation."""

    id: UUID
    project_id: UUID
    url: str
    kinds: tuple[EventKind, ...]
    description: str
    enabled: bool
    secret: bytes = field(repr=False)
    previous_secret: bytes | None = field(repr=False)
    rotated_at: datetime | None
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook to store."""

    id: UUID
    project_id: UUID
    url: str
    kinds: tuple[EventKind, ...]
    description: str
    enabled: bool
    secret: bytes = field(repr=False)
    created_by: str
