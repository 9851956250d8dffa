"""Operations and their events: look-ups, listings and removal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Row,
    delete,
    func,
    or_,
    select,
    text,
)

from app.errors import OperationNotFound
from app.operations.operation import Operation, OperationEvent, OperationFilter
from app.operations.states import Kind, State
from app.projects.paging import Position
from app.store.database import Transaction
from app.store.paging import newest_first
from app.store.tables import operation_events, operations

CLOCK = func.clock_timestamp()
# For conditions: an index serves a stable function, and not a volatile one such as the clock.
NOW = func.statement_timestamp()
ALL = OperationFilter()
FORGOTTEN_AT_ONCE = 1_000
STEPS_FORGOTTEN_AT_ONCE = 5_000
_SWEPT = timedelta(days=2)
# By name: a prepared "*" fails once after a migration of the next version has added a column.
COLUMNS = ", ".join(f"operations.{column.name}" for column in operations.c)


def view(row: Row[Any]) -> Operation:
    return Operation(
        id=row.id,
        project_id=row.project_id,
        kind=Kind(row.kind),
        state=State(row.state),
        list_id=row.list_id,
        push_id=row.push_id,
        request=row.request,
        progress=row.progress,
        attempt=row.attempt,
        result=row.result,
        problem=row.problem,
        created_by=row.created_by,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        run_at=row.run_at,
        deadline_at=row.deadline_at,
        cancel_requested=row.cancel_requested,
        keys=tuple(row.keys),
        registries=tuple(row.registries),
        trace=row.trace,
        token_id=row.token_id,
        sequence=row.sequence,
    )


async def get(tx: Transaction, project_id: UUID, operation_id: UUID) -> Operation:
    statement = select(operations).where(
        operations.c.id == operation_id, operations.c.project_id == project_id
    )
    row = (await tx.execute(statement)).one_or_none()
    if row is None:
        raise OperationNotFound(f"The operation {operation_id} does not exist.")
    return view(row)


async def unfinished_of_token(tx: Transaction, token_id: UUID) -> Sequence[tuple[UUID, UUID]]:
    """The project and id of each unfinished operation that the token has requested."""
    # The states are literals, for the partial indexes.
    unfinished = or_(operations.c.state == text("'queued'"), operations.c.state == text("'running'"))
    query = select(operations.c.project_id, operations.c.id).where(
        unfinished, operations.c.token_id == token_id
    )
    return [(row.project_id, row.id) for row in await tx.execute(query.order_by(operations.c.sequence))]


async def page(
    tx: Transaction,
    project_id: UUID,
    wanted: OperationFilter = ALL,
    *,
    before: Position | None = None,
    limit: int,
) -> list[Operation]:
    """Newest first; `before` is the position of the last one seen."""
    statement = select(operations).where(operations.c.project_id == project_id)
    if wanted.kind is None:
        statement = statement.where(operations.c.kind != Kind.DELIVER)
    for column, value in (
        (operations.c.state, wanted.state),
        (operations.c.kind, wanted.kind),
        (operations.c.list_id, wanted.list_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    return [view(row) for row in await tx.execute(newest_first(statement, operations, before, limit))]


async def events_after(
    tx: Transaction, project_id: UUID, operation_id: UUID, last_id: int, limit: int
) -> list[OperationEvent]:
    statement = (
        select(operation_events)
        .join(operations, operations.c.id == operation_events.c.operation_id)
        .where(
            operation_events.c.operation_id == operation_id,
            operations.c.project_id == project_id,
            operation_events.c.id > last_id,
        )
        .order_by(operation_events.c.id)
        .limit(limit)
    )
    return [
        OperationEvent(id=row.id, kind=row.kind, data=row.data, created_at=row.created_at)
        for row in await tx.execute(statement)
    ]


async def forget_ended(tx: Transaction, *, older_than: timedelta, limit: int = FORGOTTEN_AT_ONCE) -> int:
    """Remove the oldest operations that ended that long ago, with their events, up to `limit`."""
    old = (
        select(operations.c.id)
        .where(operations.c.ended_at < NOW - older_than)
        .order_by(operations.c.ended_at)
        .limit(limit)
        # Several processes may remove operations at once.
        .with_for_update(skip_locked=True)
    )
    return (await tx.execute(delete(operations).where(operations.c.id.in_(old)))).rowcount


async def forget_events(
    tx: Transaction, older_than: timedelta, *, limit: int = STEPS_FORGOTTEN_AT_ONCE
) -> int:
    """Remove events of operations that ended that long ago, up to `limit`.

    Operations that ended long before have no events left, or lose them with the operation, and are not
    searched again.
    """
    until = NOW - older_than
    old_events = (
        select(operation_events.c.id)
        .join(operations, operations.c.id == operation_events.c.operation_id)
        .where(operations.c.ended_at.between(until - _SWEPT, until))
        .limit(limit)
        .with_for_update(skip_locked=True, of=operation_events)
    )
    statement = delete(operation_events).where(operation_events.c.id.in_(old_events))
    return (await tx.execute(statement)).rowcount
