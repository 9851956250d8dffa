"""The lease of a tag: while a push holds it, no other push of any project moves the tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from uuid import UUID

# A lease expires this long after its last renewal. Its holder has then stopped, or is about to.
LEASE = timedelta(seconds=6)
# The maximum age at which a lease is still renewed while other pushes wait for it.
LONGEST_CONTESTED = timedelta(seconds=10)
# A waiting push asks again at intervals. One that has not asked for this long loses its place.
WAIT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """A push's request to move a tag to `digest`.

    `order` is the acceptance order of its operation. `claimed_at` is the start of its attempt, before it read
    the tag. `has_written` is true once the registry has accepted a write from the push in the tag's
    repository.
    """

    operation_id: UUID
    attempt: int
    project_id: UUID
    order: int
    digest: str
    claimed_at: datetime
    has_written: bool = False


@dataclass(frozen=True, slots=True)
class LastMove:
    """The last move of a tag: its project, acceptance order, digest and time."""

    project_id: UUID
    order: int
    digest: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """A push that waits for the lease, and the time at which its place expires."""

    operation_id: UUID
    until: datetime


@dataclass(frozen=True, slots=True)
class TagState:
    """The holder of a tag's lease, the waiting pushes in order, and the last move of the tag."""

    holder: tuple[UUID, int] | None = None
    held_since: datetime | None = None
    held_until: datetime | None = None
    waiting: tuple[Waiting, ...] = ()
    last: LastMove | None = None


class Grant(Enum):
    """The response to a push that asks for the lease."""

    TAKEN = auto()
    """The push may move the tag."""
    TAKEN_STALE = auto()
    """The push may move the tag, but the tag may have moved since the push read it."""
    WAIT = auto()
    """Another push holds the lease or is ahead in the queue."""
    PROVE = auto()
    """Other projects use the tag: the push must first prove that it may write to the repository."""
    NEWER = auto()
    """Another project's push has moved the tag and was accepted later than this one."""


def is_newer(last: LastMove | None, project_id: UUID, order: int, digest: str) -> bool:
    """Whether another project's push, accepted later, has moved the tag to a different digest.

    Pushes of one project run in the order of their acceptance, so the order in which they run decides.
    """
    return last is not None and last.project_id != project_id and last.order > order and last.digest != digest


def ask(
    state: TagState, request: LeaseRequest, now: datetime, *, is_busy: bool = False
) -> tuple[Grant, TagState]:
    """Decide whether a push gets the lease. Leases are granted in the order of asking.

    `is_busy` means that a worker of the previous version, which takes no leases, is pushing to the tag.
    """
    if is_newer(state.last, request.project_id, request.order, request.digest):
        return Grant.NEWER, _without(state, request.operation_id)
    me = (request.operation_id, request.attempt)
    is_taken = state.held_until is not None and state.held_until > now
    is_held = is_busy or (is_taken and state.holder != me)
    alive = tuple(each for each in state.waiting if each.until > now)
    others = tuple(each for each in alive if each.operation_id != request.operation_id)
    foreign = state.last if state.last is not None and state.last.project_id != request.project_id else None
    if not request.has_written and (is_held or others or foreign):
        return Grant.PROVE, state
    is_next = not others or alive[0].operation_id == request.operation_id
    if is_held or not (is_taken or is_next):
        return Grant.WAIT, replace(state, waiting=_with(alive, request.operation_id, now + WAIT))
    is_stale = foreign is not None and foreign.at >= request.claimed_at
    grant = Grant.TAKEN_STALE if is_stale else Grant.TAKEN
    return grant, TagState(me, now, now + LEASE, others, state.last)


def _with(alive: Sequence[Waiting], operation_id: UUID, until: datetime) -> tuple[Waiting, ...]:
    """The waiting pushes plus the operation, which keeps its place if it has one, else goes last."""
    if all(each.operation_id != operation_id for each in alive):
        return (*alive, Waiting(operation_id, until))
    return tuple(replace(each, until=until) if each.operation_id == operation_id else each for each in alive)


def _without(state: TagState, operation_id: UUID) -> TagState:
    return replace(state, waiting=tuple(each for each in state.waiting if each.operation_id != operation_id))
