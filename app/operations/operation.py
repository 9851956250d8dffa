"""Operations as the store keeps them and as services pass them on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.operations.states import Kind, State

Json = dict[str, Any]
# The prefix of the key of a push to a tag. The tag's canonical name follows.
TAG_KEY = "push:"
_LARGE_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Operation:
    id: UUID
    project_id: UUID
    kind: Kind
    state: State
    list_id: UUID | None
    push_id: UUID | None
    request: Json
    progress: Json
    attempt: int
    result: Json | None
    problem: Json | None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    run_at: datetime
    deadline_at: datetime
    cancel_requested: bool
    keys: tuple[str, ...]
    registries: tuple[str, ...]
    trace: str | None
    sequence: int
    """The order of acceptance."""
    token_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class NewOperation:
    """An operation to enqueue.

    Operations of a project that share one of `keys` run one at a time, in the order of their acceptance.
    `registries` are all registries that the operation will contact: it waits while one of them is paused.
    Lower values of `priority` run first. `secret` must be encrypted already. `trace` is the trace id of the
    call (W3C Trace Context).
    """

    project_id: UUID
    kind: Kind
    request: Json
    created_by: str
    deadline_in: timedelta
    keys: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()
    list_id: UUID | None = None
    push_id: UUID | None = None
    secret: bytes | None = None
    priority: int = 0
    trace: str | None = None
    token_id: UUID | None = None
    id: UUID | None = None


@dataclass(frozen=True, slots=True)
class OperationLimits:
    """The maximum numbers of unfinished operations in one project, in total and for each key.

    Deliveries do not count, because they have limits of their own.
    """

    project: int
    key: int

    @property
    def uncontested(self) -> OperationLimits:
        """Lower limits, below which concurrent requests can't together exceed the real limits."""
        return OperationLimits(_far_below(self.project), _far_below(self.key))


def _far_below(limit: int) -> int:
    # Half of a large limit exceeds the number of transactions that all processes can have open together.
    return limit // 2 if limit >= _LARGE_LIMIT else 0


@dataclass(frozen=True, slots=True)
class OperationEvent:
    """One step in the life of an operation.

    `kind` is a state, or "progress", "retrying", "parked", "cancel_requested".
    """

    id: int
    kind: str
    data: Json
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OperationFilter:
    """Narrows a listing of operations; None takes all.

    Deliveries are listed only where that kind is asked for: they are many, and no caller started them.
    """

    state: State | None = None
    kind: Kind | None = None
    list_id: UUID | None = None
