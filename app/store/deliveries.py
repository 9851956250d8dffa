"""Deliveries of events to webhooks, and their outcomes."""

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
# Longer than the deadline of any delivery.
OPERATIONS_FOR = timedelta(days=7)
# A delivery is removed with its event. One that still waits fails a day before that, so that it can be seen.
PENDING_FOR = KEPT_FOR - timedelta(days=1)
FORGOTTEN_AT_ONCE = 5_000

_table = webhook_deliveries
# States are literals: a parameter would keep the planner from the partial indexes.
_BEGIN = text("""
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
_WITH_WAITING = text("""
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
    """Store a delivery that waits for its operation."""
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
class DueDelivery:
    """A delivery whose operation is to be enqueued now, and the time that is left for its attempts."""

    delivery_id: UUID
    operation_id: UUID
    time_left: timedelta


async def begin_due(tx: Transaction, webhook_id: UUID, *, window: int, most: int) -> list[DueDelivery]:
    """Begin the next waiting deliveries: at most `window` are due then, and at most `most` have begun."""
    values = {"webhook_id": webhook_id, "window": window, "most": most, "kept": PENDING_FOR}
    rows = await tx.execute(_BEGIN, values)
    return [DueDelivery(row.id, row.operation_id, row.time_left) for row in rows]


async def fail_overdue(tx: Transaction, problem: Mapping[str, Any]) -> None:
    """Fail the deliveries that have waited until just before the removal of their events."""
    await tx.execute(_FAIL_OLD, {"problem": problem, "kept": PENDING_FOR})


async def webhooks_with_waiting(tx: Transaction) -> list[tuple[UUID, UUID]]:
    """The webhooks with waiting deliveries, each with its project."""
    return [(row.project_id, row.webhook_id) for row in await tx.execute(_WITH_WAITING)]


async def fail_waiting(tx: Transaction, webhook_id: UUID, problem: Mapping[str, Any]) -> None:
    """Fail all deliveries of the webhook that wait."""
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
        raise DeliveryNotFound(f"The delivery {delivery_id} of this webhook does not exist.")
    return _view(row)


async def find_delivery(tx: Transaction, project_id: UUID, delivery_id: UUID) -> Delivery | None:
    """None if its webhook was removed, or its event was too old."""
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
    """Newest first; `before` is the position of the last one seen."""
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
    """The oldest first, locked until the transaction ends; `since` is the id or the time of an event."""
    statement = _whole().where(
        _table.c.webhook_id == webhook_id, _table.c.project_id == project_id, _table.c.state.in_(states)
    )
    if isinstance(since, datetime):
        statement = statement.where(project_events.c.created_at >= since)
    elif since is not None:
        statement = statement.where(_table.c.event_id >= since)
    statement = statement.order_by(_table.c.event_id).limit(limit).with_for_update(of=_table)
    return [_view(row) for row in await tx.execute(statement)]


async def count_failure(
    tx: Transaction, delivery_id: UUID, *, status: int | None, problem: Mapping[str, Any]
) -> None:
    """Record another failed request."""
    await tx.execute(
        update(_table)
        .where(_table.c.id == delivery_id)
        .values(attempts=_table.c.attempts + 1, last_status=status, problem=problem)
    )


async def mark_delivered(tx: Transaction, delivery_id: UUID, *, status: int) -> None:
    """Record the successful request.

    It is one statement, because the second update of a row in a transaction locks its webhook: PostgreSQL
    checks the foreign key again. A removal locks the webhook before its deliveries, so the two could
    deadlock.
    """
    await tx.execute(
        update(_table)
        .where(_table.c.id == delivery_id)
        .values(
            attempts=_table.c.attempts + 1,
            last_status=status,
            problem=None,
            state=DeliveryState.DELIVERED,
            delivered_at=CLOCK,
        )
    )


async def mark_failed(
    tx: Transaction, delivery_id: UUID, operation_id: UUID, problem: Mapping[str, Any]
) -> None:
    """Fail the delivery if it still belongs to that operation."""
    await tx.execute(
        update(_table)
        .where(_table.c.id == delivery_id, _table.c.operation_id == operation_id)
        .values(state=DeliveryState.FAILED, problem=problem)
    )


async def restart(tx: Transaction, delivery_id: UUID) -> None:
    """Let the delivery wait again."""
    await tx.execute(
        update(_table)
        .where(_table.c.id == delivery_id)
        .values(state=DeliveryState.PENDING, operation_id=None, delivered_at=None)
    )


async def forget_old_deliveries(tx: Transaction) -> int:
    """Remove operations of deliveries that ended long ago; the deliveries stay as long as their events."""
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
