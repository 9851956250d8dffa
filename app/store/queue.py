"""The operations table as a queue: claims, leases, and outcomes that only the owning attempt writes."""

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

from app.errors import AttemptsExhausted, BrokerError, DeadlineExceeded
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

# Any number that no one else takes as an advisory lock in this database.
CLAIM_LOCK = 0x6D62_0001
BURIED_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Claimed:
    """An operation that is ours until the lease ends; `counted` attempts count against the limit."""

    operation: Operation
    secret: bytes | None
    counted: int
    time_left: timedelta


@dataclass(frozen=True, slots=True)
class Beat:
    """An operation that is ours; its lease is `renewed` unless another transaction had its row."""

    id: UUID
    attempt: int
    cancel_requested: bool
    renewed: bool


_BEYOND_HELP = text("""
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

# Whoever locks several operations does so in the order of their ids, so that no two wait for each other.
_OURS = text("""
    SELECT id FROM operations JOIN unnest(:ids, :attempts) AS held (id, attempt) USING (id, attempt)
    WHERE state = 'running' ORDER BY id FOR UPDATE OF operations
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("attempts", type_=ARRAY(Integer)))

# One row that its own attempt has locked, while it waits for another, must not cost all the others their
# leases: a locked row is left, and answered as it is. Nobody takes it meanwhile, for a claim skips it, too.
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
    # One claim at a time: two that can't see each other's rows yet could take two operations of one key.
    await tx.execute(select(sql.pg_advisory_xact_lock(bindparam(None, CLAIM_LOCK, BigInteger))))
    values = {
        "worker": worker,
        "slots": free.slots,
        "lease": lease,
        "kinds": list(kinds),
        "max_lost": max_lost,
        "bulkhead_limit": free.bulkhead_limit,
        "bulkheads": [" ".join(bulkhead) for bulkhead in free.running],
        "running": list(free.running.values()),
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
    """How long until an operation's time comes, or a lease runs out."""
    due: timedelta | None = (await tx.execute(_NEXT_DUE)).scalar_one()
    return due


async def bury(
    tx: Transaction,
    *,
    kinds: Collection[Kind] = tuple(Kind),
    max_lost: int = 5,
    limit: int = BURIED_AT_ONCE,
) -> list[Operation]:
    """Ends what nobody holds and nobody may take: cancelled, lost too often, or past its deadline."""
    values = {"kinds": list(kinds), "max_lost": max_lost, "limit": limit}
    rows = (await tx.execute(_BEYOND_HELP, values)).all()
    return [await _bury(tx, row) for row in rows]


async def _bury(tx: Transaction, row: Any) -> Operation:
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
    """Renews the leases of those `(id, attempt)` that are still ours; the others are not in the answer."""
    pairs = sorted(held)
    values = {"ids": [pair[0] for pair in pairs], "attempts": [pair[1] for pair in pairs], "lease": lease}
    return [Beat(*row) for row in await tx.execute(_BEAT, values)]


async def _write(tx: Transaction, operation_id: UUID, attempt: int, values: Json) -> Operation:
    """Any write of an attempt to its operation: without the lease nothing is written."""
    statement = update(operations).where(*_ours(operation_id, attempt)).values(values)
    row = (await tx.execute(statement.returning(operations))).one_or_none()
    if row is None:
        raise LostLease(f"Attempt {attempt} of operation {operation_id} has no lease.")
    return view(row)


def _ours(operation_id: UUID, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return (
        operations.c.id == operation_id,
        operations.c.attempt == attempt,
        operations.c.state == State.RUNNING,
    )


async def record_progress(tx: Transaction, operation_id: UUID, attempt: int, progress: Progress) -> bool:
    """False, and nothing is written, while another transaction has the operation's row.

    Mostly that is the attempt's own, about to end it: waiting for it costs a connection and tells nothing.
    """
    ours = _ours(operation_id, attempt)
    free = select(operations.c.id).where(*ours).with_for_update(skip_locked=True).scalar_subquery()
    statement = update(operations).where(operations.c.id == free).values(progress=progress.document())
    row = (await tx.execute(statement.returning(operations))).one_or_none()
    if row is not None:
        await record_event(tx, view(row), "progress")
    elif (await tx.execute(select(operations.c.id).where(*ours))).first() is None:
        raise LostLease(f"Attempt {attempt} of operation {operation_id} has no lease.")
    return row is not None


async def hold(tx: Transaction, operation_id: UUID, attempt: int) -> None:
    """Keeps all others from the operation until the transaction ends; `LostLease` if it is not ours."""
    statement = select(operations.c.id).where(*_ours(operation_id, attempt)).with_for_update()
    if (await tx.execute(statement)).first() is None:
        raise LostLease(f"Attempt {attempt} of operation {operation_id} has no lease.")


async def hold_all(tx: Transaction, attempts: Iterable[tuple[UUID, int]]) -> set[UUID]:
    """The same for many; the answer names those that are ours."""
    pairs = sorted(attempts)
    values = {"ids": [pair[0] for pair in pairs], "attempts": [pair[1] for pair in pairs]}
    return set((await tx.execute(_OURS, values)).scalars())


async def succeed(
    tx: Transaction,
    operation_id: UUID,
    attempt: int,
    result: Json,
    *,
    list_id: UUID | None = None,
    progress: Progress | None = None,
) -> Operation:
    """`progress` is what was not written before."""
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
    """Queued again, for after `delay`; or cancelled, if that was asked for meanwhile."""
    facts = {"retry_in": delay.total_seconds()} | ({"problem": problem} if problem else {})
    return await _requeue(tx, (operation_id, attempt), delay, "retrying", facts, excused=excused)


async def park(
    tx: Transaction, operation_id: UUID, attempt: int, delay: timedelta, *, problem: Json
) -> Operation:
    """Queued again for after `delay`, because a registry asked for that; such an attempt is never counted."""
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
    await record_event(tx, operation, kind, tell=[OPERATION_QUEUED], until=until, **facts)
    return operation
