"""The operations table as a queue: claims, leases, outcomes, and the end of overdue operations."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Text,
    Uuid,
    bindparam,
    select,
    text,
    update,
)
from sqlalchemy import func as sql

from app.errors import AttemptsExhausted, BrokerError, DeadlineExceeded, OperationCancelled
from app.operations.capacity import FreeSlots
from app.operations.operation import Json, Operation
from app.operations.progress import Progress
from app.operations.states import Kind, State
from app.store.claiming import CLAIM
from app.store.database import Transaction
from app.store.notifications import OPERATION_CHANGED, OPERATION_QUEUED
from app.store.operation_changes import LostLease, end, record_event
from app.store.operations import CLOCK, view
from app.store.tables import operations
from app.store.tag_leases import TAKES_LEASES

# The number of an advisory lock; no other lock of this database has it.
CLAIM_LOCK = 0x6D62_0001
ENDED_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Claimed:
    """An operation that its worker owns until the lease ends; `counted` attempts count against the limit."""

    operation: Operation
    secret: bytes | None
    counted: int
    time_left: timedelta


@dataclass(frozen=True, slots=True)
class Beat:
    """An owned operation; its lease is `renewed` unless another transaction had locked the row."""

    id: UUID
    attempt: int
    cancel_requested: bool
    renewed: bool


_OVERDUE = text("""
    SELECT id, attempt, lost, state, cancel_requested, deadline_at <= statement_timestamp() AS late
    FROM operations
    WHERE kind = ANY(:kinds) AND (
        state = 'queued' AND deadline_at <= statement_timestamp()
        OR state = 'running' AND lease_until < statement_timestamp() AND (
            cancel_requested OR lost + 1 >= :max_lost OR deadline_at <= statement_timestamp()
        )
    )
    LIMIT :limit FOR UPDATE SKIP LOCKED
""").bindparams(bindparam("kinds", type_=ARRAY(Text)))

_NEXT_DUE = text("""
    SELECT min(due) - statement_timestamp() FROM (
        SELECT min(run_at) AS due FROM operations WHERE state = 'queued' AND run_at > statement_timestamp()
        UNION ALL
        SELECT min(lease_until) FROM operations
        WHERE state = 'running' AND lease_until > statement_timestamp()
        UNION ALL
        SELECT min(blocked_until) FROM registry_budgets WHERE blocked_until > statement_timestamp()
    ) AS coming
""")

# Every transaction that locks several operations locks them in the order of their ids, to avoid deadlocks.
_HOLD = text("""
    SELECT id FROM operations JOIN unnest(:ids, :attempts) AS held (id, attempt) USING (id, attempt)
    WHERE state = 'running' ORDER BY id FOR UPDATE OF operations
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("attempts", type_=ARRAY(Integer)))

# A row that its own attempt has locked while it waits for another must not cost the others their leases: a
# locked row is returned unrenewed. No claim takes it meanwhile, since claims skip locked rows as well.
_BEAT = text("""
    WITH held AS (
        SELECT id, attempt
        FROM operations JOIN unnest(:ids, :attempts) AS held (id, attempt) USING (id, attempt)
        WHERE state = 'running'
    ), free AS (
        SELECT id FROM operations JOIN held USING (id, attempt)
        WHERE state = 'running' ORDER BY id FOR NO KEY UPDATE OF operations SKIP LOCKED
    ), renewed AS (
        UPDATE operations SET lease_until = clock_timestamp() + :lease FROM free WHERE operations.id = free.id
        RETURNING operations.id
    )
    SELECT id, attempt, cancel_requested, id IN (SELECT id FROM renewed) AS renewed
    FROM operations JOIN held USING (id, attempt)
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("attempts", type_=ARRAY(Integer)))


async def claim(
    tx: Transaction,
    *,
    worker: str,
    free: FreeSlots,
    lease: timedelta,
    kinds: Collection[Kind] = tuple(Kind),
    max_lost: int = 5,
) -> list[Claimed]:
    """The operations that may run now, oldest first; the worker owns them for the length of the lease.

    An operation that was lost with `max_lost` workers is not claimed again.
    """
    # One claim at a time: two claims that don't see each other's rows yet could take two operations of one
    # key.
    await tx.execute(select(sql.pg_advisory_xact_lock(bindparam(None, CLAIM_LOCK, BigInteger))))
    values = {
        "worker": TAKES_LEASES + worker,
        "slots": free.slots,
        "lease": lease,
        "kinds": list(kinds),
        "max_lost": max_lost,
        "bulkhead_limit": free.bulkhead_limit,
        "bulkheads": [" ".join(bulkhead) for bulkhead in free.running],
        "running": list(free.running.values()),
        "project_share": free.project_share,
        "holders": [project for project, _ in free.held],
        "held_bulkheads": [" ".join(bulkhead) for _, bulkhead in free.held],
        "held": list(free.held.values()),
        "pooled_kinds": [kind for pool in free.pools for kind in pool.kinds],
        "pools": [number for number, pool in enumerate(free.pools) for _ in pool.kinds],
        "pool_slots": [slots for pool, slots in free.pools.items() for _ in pool.kinds],
        "changed": OPERATION_CHANGED,
    }
    rows = (await tx.execute(CLAIM, values)).all()
    return [
        Claimed(view(row), row.secret, row.counted, row.time_left)
        for row in sorted(rows, key=lambda row: (row.priority, row.sequence))
    ]


async def next_due(tx: Transaction) -> timedelta | None:
    """The time until an operation is due, a lease ends, or a pause is over."""
    due: timedelta | None = (await tx.execute(_NEXT_DUE)).scalar_one()
    return due


async def end_overdue(
    tx: Transaction,
    *,
    kinds: Collection[Kind] = tuple(Kind),
    max_lost: int = 5,
    limit: int = ENDED_AT_ONCE,
) -> list[Operation]:
    """End operations that no worker holds and none may claim: cancelled, lost too often, or overdue."""
    values = {"kinds": list(kinds), "max_lost": max_lost, "limit": limit}
    rows = (await tx.execute(_OVERDUE, values)).all()
    return [await _end_overdue(tx, row) for row in rows]


async def _end_overdue(tx: Transaction, row: Any) -> Operation:
    was = State(row.state)
    if row.cancel_requested:
        return await end(tx, row.id, row.attempt, was, State.CANCELLED)
    failure: BrokerError
    if row.late:
        failure = DeadlineExceeded("The operation's deadline passed before it could be done.")
    else:
        failure = AttemptsExhausted(f"{row.lost + 1} attempts were lost with the workers that made them.")
    return await end(tx, row.id, row.attempt, was, State.FAILED, problem=failure.document())


async def beat(tx: Transaction, held: Iterable[tuple[UUID, int]], lease: timedelta) -> list[Beat]:
    """Renew the leases of those `(id, attempt)` that are still owned, and return only those."""
    pairs = sorted(held)
    values = {"ids": [pair[0] for pair in pairs], "attempts": [pair[1] for pair in pairs], "lease": lease}
    return [Beat(*row) for row in await tx.execute(_BEAT, values)]


async def _write(tx: Transaction, operation_id: UUID, attempt: int, values: Json) -> Operation:
    """Write to the operation of an attempt; LostLease if the attempt does not own it."""
    statement = update(operations).where(*_owned(operation_id, attempt)).values(values)
    row = (await tx.execute(statement.returning(operations))).one_or_none()
    if row is None:
        raise LostLease(f"Attempt {attempt} of operation {operation_id} has no lease.")
    return view(row)


def _owned(operation_id: UUID, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return (
        operations.c.id == operation_id,
        operations.c.attempt == attempt,
        operations.c.state == State.RUNNING,
    )


async def record_progress(tx: Transaction, operation_id: UUID, attempt: int, progress: Progress) -> bool:
    """Write progress; return False, with nothing written, while another transaction has locked the row.

    Mostly that is the attempt's own transaction, which is about to end it: waiting would only cost a
    connection.
    """
    owned = _owned(operation_id, attempt)
    free = select(operations.c.id).where(*owned).with_for_update(skip_locked=True).scalar_subquery()
    statement = update(operations).where(operations.c.id == free).values(progress=progress.document())
    row = (await tx.execute(statement.returning(operations))).one_or_none()
    if row is not None:
        await record_event(tx, view(row), "progress")
    elif (await tx.execute(select(operations.c.id).where(*owned))).first() is None:
        raise LostLease(f"Attempt {attempt} of operation {operation_id} has no lease.")
    return row is not None


async def hold(tx: Transaction, operation_id: UUID, attempt: int) -> None:
    """Lock the operation until the transaction ends; LostLease if the attempt does not own it."""
    statement = select(operations.c.id).where(*_owned(operation_id, attempt)).with_for_update()
    if (await tx.execute(statement)).first() is None:
        raise LostLease(f"Attempt {attempt} of operation {operation_id} has no lease.")


async def refuse_cancelled(tx: Transaction, operation_id: UUID) -> None:
    """Raise OperationCancelled if the caller has requested that. The operation must be held."""
    asked = select(operations.c.cancel_requested).where(operations.c.id == operation_id)
    if (await tx.execute(asked)).scalar_one():
        raise OperationCancelled("The operation was cancelled.")


async def hold_all(tx: Transaction, attempts: Iterable[tuple[UUID, int]]) -> set[UUID]:
    """Lock several operations; return the ids of those that the attempts own."""
    pairs = sorted(attempts)
    values = {"ids": [pair[0] for pair in pairs], "attempts": [pair[1] for pair in pairs]}
    return set((await tx.execute(_HOLD, values)).scalars())


async def succeed(
    tx: Transaction,
    operation_id: UUID,
    attempt: int,
    result: Json,
    *,
    list_id: UUID | None = None,
    progress: Progress | None = None,
) -> Operation:
    """End with success; `progress` is progress that was not written before."""
    return await end(
        tx,
        operation_id,
        attempt,
        State.RUNNING,
        State.SUCCEEDED,
        result=result,
        list_id=list_id,
        progress=progress.document() if progress is not None else None,
    )


async def fail(tx: Transaction, operation_id: UUID, attempt: int, problem: Json) -> Operation:
    return await end(tx, operation_id, attempt, State.RUNNING, State.FAILED, problem=problem)


async def cancelled(tx: Transaction, operation_id: UUID, attempt: int) -> Operation:
    return await end(tx, operation_id, attempt, State.RUNNING, State.CANCELLED)


async def give_back(
    tx: Transaction,
    operation_id: UUID,
    attempt: int,
    delay: timedelta,
    *,
    excused: bool = False,
    problem: Json | None = None,
) -> Operation:
    """Queue the operation again after `delay`, or cancel it if its caller asked for that meanwhile."""
    facts = {"retry_in": delay.total_seconds()} | ({"problem": problem} if problem else {})
    return await _requeue(tx, (operation_id, attempt), delay, "retrying", facts, excused=excused)


async def park(
    tx: Transaction, operation_id: UUID, attempt: int, delay: timedelta, *, problem: Json
) -> Operation:
    """Queue the operation again after a registry's pause; the attempt does not count against the limit."""
    facts = {"retry_in": delay.total_seconds(), "problem": problem}
    return await _requeue(tx, (operation_id, attempt), delay, "parked", facts, excused=True)


async def _requeue(
    tx: Transaction, held: tuple[UUID, int], delay: timedelta, kind: str, facts: Json, *, excused: bool
) -> Operation:
    operation_id, attempt = held
    values: Json = {
        "state": State.QUEUED,
        "run_at": CLOCK + delay,
        "excused": operations.c.excused + int(excused),
        "worker": None,
        "lease_until": None,
    }
    operation = await _write(tx, operation_id, attempt, values)
    if operation.cancel_requested:
        return await end(tx, operation_id, attempt, State.QUEUED, State.CANCELLED)
    until = operation.run_at.isoformat()
    await record_event(tx, operation, kind, notify=[OPERATION_QUEUED], until=until, **facts)
    return operation
