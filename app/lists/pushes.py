"""Pushes: what was to go where, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.lists.push_plan import PushPlan


class PushState(StrEnum):
    QUEUED = "queued"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Push:
    """One push of one list, under way or ended; it outlives the list.

    `previous` is what each reference led to before its tag was moved, `differences` how that differs from the
    index, `reached` how far a failed attempt had come at each target, `problem` why it ended without success,
    and `restores` the push whose bytes it puts back.
    """

    id: UUID
    operation_id: UUID
    list_id: UUID | None
    reference: str
    registry: str
    repository: str
    session: str
    labels: Mapping[str, str]
    plan: PushPlan
    created_by: str
    state: PushState = PushState.QUEUED
    previous: Mapping[str, str | None] = field(default_factory=dict)
    differences: Mapping[str, Any] = field(default_factory=dict)
    reached: Sequence[Mapping[str, Any]] = ()
    result: Mapping[str, Any] | None = None
    problem: Mapping[str, Any] | None = None
    restores: UUID | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PushFilter:
    """What a listing is narrowed to; None takes all."""

    reference: str | None = None
    registry: str | None = None
    repository: str | None = None
    session: str | None = None
    list_id: UUID | None = None
    state: PushState | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
