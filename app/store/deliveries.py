"""Deliveries: one for each event and webhook, and what came of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    Integer,
    Interval,
    Row,
    Select,
    Uuid,
    bindparam,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSON

from app.errors import DeliveryNotFound
from app.lists.events import EventKind
from app.operations.states import State
from app.projects.deliveries import Delivery, DeliveryState
from app.projects.paging import Position
from app.store.database import Transaction
from app.store.events import KEPT_FOR
from app.store.paging import newest_first
from app.store.tables import operations, project_events, webhook_deliveries

CLOCK = func.clock_timestamp()
# Longer than any is tried.
OPERATIONS_FOR = timedelta(days=7)
# A delivery goes with its event. What was not brought by then is to be seen as failed for a day before.
PENDING_FOR = KEPT_FOR - timedelta(days=1)
FORGOTTEN_AT_ONCE = 5_000

_table = webhook_deliveries
# States are literals, or the planner would not take the indexes that have these alone.
_TAKE_TURNS = text("""
    UPDATE webhook_deliveries SET operation_id = gen_random_uuid() WHERE id = ANY(ARRAY(
        SELECT id FROM webhook_deliveries
        WHERE webhook_id = :webhook_id AND state = 'pending' AND operation_id IS NULL
        ORDER BY event_id
        LIMIT (
            SELECT greatest(0, least(
                :window - count(*) FILTER (WHERE operations.run_at <= clock_timestamp()), :most - count(*)
            ))
            FROM webhook_deliveries AS begun LEFT JOIN operations ON operations.id = begun.operation_id
            WHERE begun.webhook_id = :webhook_id AND begun.state = 'pending' AND operation_id IS NOT NULL
        )
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING id, operation_id, created_at + :kept - clock_timestamp() AS time_left
""").bindparams(
    bindparam("webhook_id", type_=Uuid),
    bindparam("window", type_=Integer),
    bindparam("most", type_=Integer),
    bindparam("kept", type_=Interval),
)
_FAIL_OLD = text("""
    UPDATE webhook_deliveries SET state = 'failed', problem = :problem
    WHERE state = 'pending' AND operation_id IS NULL AND created_at < clock_timestamp() - :kept
""").bindparams(bindparam("problem", type_=JSON), bindparam("kept", type_=Interval))
_WITH_LINES = text("""
    SELECT DISTINCT project_id, webhook_id FROM webhook_deliveries
    WHERE state = 'pending' AND operation_id IS NULL
    ORDER BY project_id, webhook_id
""")
_FORGET = text("""
    DELETE FROM operations WHERE id = ANY(ARRAY(
        SELECT id FROM operations WHERE kind = 'deliver' AND ended_at < statement_timestamp() - :age
        ORDER BY ended_at LIMIT :limit
    ))
""").bindparams(bindparam("age", type_=Interval), bindparam("limit", type_=Integer))


async def insert_delivery(tx: Transaction, project_id: UUID, webhook_id: UUID, event_id: int) -> UUID:
    """In line."""
    delivery_id = uuid4()
    await tx.execute(
        insert(_table).values(
            id=delivery_id,
            project_id=project_id,
            webhook_id=webhook_id,
            event_id=event_id,
        )
    )
    return delivery_id


@dataclass(frozen=True, slots=True)
class Turn:
    """A delivery to be brought by an operation that is yet to be enqueued, and how long it may be tried."""

    delivery_id: UUID
    operation_id: UUID
    time_left: timedelta


async def take_turns(tx: Transaction, webhook_id: UUID, *, window: int, most: int) -> list[Turn]:
    """Those whose turn it is: no more than `window` are to be made now, nor `most` now or at some time."""
    values = {"webhook_id": webhook_id, "window": window, "most": most, "kept": PENDING_FOR}
    rows = await tx.execute(_TAKE_TURNS, values)
    return [Turn(row.id, row.operation_id, row.time_left) for row in rows]


async def fail_old(tx: Transaction, problem: Mapping[str, Any]) -> None:
    """Whoever stood in line until its event is about to be forgotten."""
    await tx.execute(_FAIL_OLD, {"problem": problem, "kept": PENDING_FOR})


async def with_lines(tx: Transaction) -> list[tuple[UUID, UUID]]:
    """The webhooks at which deliveries stand in line, with their projects."""
    return [(row.project_id, row.webhook_id) for row in await tx.execute(_WITH_LINES)]


async def fail_line(tx: Transaction, webhook_id: UUID, problem: Mapping[str, Any]) -> None:
    """Nobody in line gets a turn any more."""
    await tx.execute(
        update(_table)
        .where(
            _table.c.webhook_id == webhook_id,
            _table.c.state == DeliveryState.PENDING,
            _table.c.operation_id.is_(None),
        )
        .values(state=DeliveryState.FAILED, problem=problem)
    )


async def get_delivery(
    tx: Transaction, project_id: UUID, webhook_id: UUID, delivery_id: UUID, *, lock: bool = False
) -> Delivery:
    statement = _whole().where(
        _table.c.id == delivery_id, _table.c.webhook_id == webhook_id, _table.c.project_id == project_id
    )
    if lock:
        statement = statement.with_for_update(of=_table)
    row = (await tx.execute(statement)).one_or_none()
    if row is None:
        raise DeliveryNotFound(f"There is no delivery {delivery_id} of this webhook.")
    return _view(row)


async def find_delivery(tx: Transaction, project_id: UUID, delivery_id: UUID) -> Delivery | None:
    """None when its webhook was removed, or its event is too old."""
    statement = _whole().where(_table.c.id == delivery_id, _table.c.project_id == project_id)
    row = (await tx.execute(statement)).one_or_none()
    return _view(row) if row is not None else None


async def page_deliveries(
    tx: Transaction,
    project_id: UUID,
    webhook_id: UUID,
    *,
    state: DeliveryState | None = None,
    before: Position | None,
    limit: int,
) -> list[Delivery]:
    """Newest first; `before` is the place of the last one seen."""
    statement = _whole().where(_table.c.webhook_id == webhook_id, _table.c.project_id == project_id)
    if state is not None:
        statement = statement.where(_table.c.state == state)
    rows = await tx.execute(newest_first(statement, _table, before, limit))
    return [_view(row) for row in rows]


async def to_replay(
    tx: Transaction,
    project_id: UUID,
    webhook_id: UUID,
    states: Collection[DeliveryState],
    *,
    since: int | datetime | None,
    limit: int,
) -> list[Delivery]:
    """The oldest first, and nobody else's until the transaction ends; `since` is an event or a moment."""
    statement = _whole().where(
        _table.c.webhook_id == webhook_id, _table.c.project_id == project_id, _table.c.state.in_(states)
    )
    if isinstance(since, datetime):
        statement = statement.where(project_events.c.created_at >= since)
    elif since is not None:
        statement = statement.where(_table.c.event_id >= since)
    statement = statement.order_by(_table.c.event_id).limit(limit).with_for_update(of=_table)
    return [_view(row) for row in await tx.execute(statement)]


async def count_attempt(
    tx: Transaction, delivery_id: UUID, *, status: int | None, problem: Mapping[str, Any] | None = None
) -> None:
    """One request more was made, and this came of it."""
    await tx.execute(
        update(_table)
        .where(_table.c.id == delivery_id)
        .values(attempts=_table.c.attempts + 1, last_status=status, problem=problem)
    )


async def mark_delivered(tx: Transaction, delivery_id: UUID) -> None:
    await tx.execute(
        update(_table)
        .where(_table.c.id == delivery_id)
        .values(state=DeliveryState.DELIVERED, delivered_at=CLOCK)
    )


async def mark_failed(
    tx: Transaction, delivery_id: UUID, operation_id: UUID, problem: Mapping[str, Any]
) -> None:
    """If it is still that operation's to bring."""
    await tx.execute(
        update(_table)
        .where(_table.c.id == delivery_id, _table.c.operation_id == operation_id)
        .values(state=DeliveryState.FAILED, problem=problem)
    )


async def renew(tx: Transaction, delivery_id: UUID) -> None:
    """To be brought again, when it is its turn."""
    await tx.execute(
        update(_table)
        .where(_table.c.id == delivery_id)
        .values(state=DeliveryState.PENDING, operation_id=None, delivered_at=None)
    )


async def forget_old_deliveries(tx: Transaction) -> int:
    """Removes operations that brought something long ago; the deliveries stay as long as their events."""
    return (await tx.execute(_FORGET, {"age": OPERATIONS_FOR, "limit": FORGOTTEN_AT_ONCE})).rowcount


def _whole() -> Select[Any]:
    return (
        select(_table, project_events.c.kind.label("event_kind"), operations.c.run_at.label("next_at"))
        .join(project_events, project_events.c.id == _table.c.event_id)
        .outerjoin(
            operations,
            (operations.c.id == _table.c.operation_id) & (operations.c.state == State.QUEUED),
        )
    )


def _view(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        project_id=row.project_id,
        webhook_id=row.webhook_id,
        event_id=row.event_id,
        event_kind=EventKind(row.event_kind),
        state=DeliveryState(row.state),
        attempts=row.attempts,
        last_status=row.last_status,
        problem=row.problem,
        operation_id=row.operation_id,
        created_at=row.created_at,
        delivered_at=row.delivered_at,
        next_at=row.next_at,
    )
