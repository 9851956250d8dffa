"""Changes of operations: each writes its events and notifies its listeners in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Interval,
    LargeBinary,
    Row,
    Text,
    TextClause,
    Uuid,
    bindparam,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSON

from app.errors import BrokerError, OperationEnded, TooManyOperations, TooManyPushes
from app.operations.operation import TAG_KEY, Json, NewOperation, Operation, OperationLimits
from app.operations.states import State
from app.store.database import Transaction, dump_json
from app.store.notifications import (
    CANCEL_REQUESTED,
    OPERATION_CHANGED,
    OPERATION_ENDED,
    OPERATION_QUEUED,
)
from app.store.operations import COLUMNS, get, view
from app.store.paging import begins_otherwise
from app.store.tables import operation_events, operations

# The cost of an operation is mostly round trips, so a change, its events and its notifications are one
# statement. The events are written while the row is locked: their ids grow in the order of the commits.
_RECORDED = """
    recorded AS (
        INSERT INTO operation_events (operation_id, kind, data)
        SELECT changed.id, happened, CASE WHEN happened <> changed.state OR problem IS NULL
            THEN json_build_object('state', state_then, 'attempt', attempt, 'progress', progress)
            ELSE json_build_object(
                'state', state_then, 'attempt', attempt, 'progress', progress, 'problem', problem)
            END
        FROM changed, unnest(:kinds, :states) WITH ORDINALITY AS event (happened, state_then, nth)
        ORDER BY nth
    )
    SELECT changed.*,
        (SELECT count(pg_notify(channel, CAST(changed.id AS text))) FROM unnest(:channels) AS channel)
"""
_EVENTS = tuple(bindparam(name, type_=ARRAY(Text)) for name in ("kinds", "states", "channels"))

_ENQUEUED = f"""
    changed AS (
        INSERT INTO operations (
            id, project_id, kind, keys, registries, priority, request, secret, list_id, push_id, created_by,
            trace, token_id, run_at, deadline_at
        ) SELECT
            :id, :project_id, :kind, :keys, :registries, :priority, :request, :secret, :list_id, :push_id,
            :created_by, :trace, :token_id, clock_timestamp(), clock_timestamp() + :deadline_in
        WHERE %s
        RETURNING {COLUMNS}
    ), {_RECORDED} FROM changed
"""  # noqa: S608 - constants of this module alone
# The state is literal: a parameter would keep the planner from the partial index.
_UNFINISHED = """
    unfinished AS MATERIALIZED (
        SELECT keys FROM operations
        WHERE project_id = :project_id AND state IN ('queued', 'running') AND kind <> 'deliver'
    ), sharing AS (
        SELECT key, count(*) AS number FROM unfinished CROSS JOIN unnest(keys) AS key
        WHERE key = ANY(:keys) GROUP BY key
    )
"""
_WITHIN_LIMITS = """
    (SELECT count(*) FROM unfinished) < :project_limit
    AND NOT EXISTS (SELECT FROM sharing WHERE number >= :key_limit)
"""
_NEW = (
    *_EVENTS,
    *(bindparam(name, type_=Uuid) for name in ("id", "project_id", "list_id", "push_id", "token_id")),
    *(bindparam(name, type_=ARRAY(Text)) for name in ("keys", "registries")),
    bindparam("kind", type_=Text),
    *(bindparam(name, type_=Text) for name in ("created_by", "trace")),
    bindparam("priority", type_=Integer),
    bindparam("request", type_=JSON),
    bindparam("secret", type_=LargeBinary),
    bindparam("deadline_in", type_=Interval),
)
_LIMITS = tuple(bindparam(name, type_=BigInteger) for name in ("project_limit", "key_limit"))
_ENQUEUE = text(f"WITH {_ENQUEUED % 'true'}").bindparams(*_NEW)
_ENQUEUE_WITHIN = text(f"WITH {_UNFINISHED}, {_ENQUEUED % _WITHIN_LIMITS}").bindparams(*_NEW, *_LIMITS)
_FULL_KEYS = text(f"""
    WITH {_UNFINISHED} SELECT key FROM sharing WHERE number >= :key_limit ORDER BY key
""").bindparams(  # noqa: S608 - constants of this module alone
    bindparam("project_id", type_=Uuid), bindparam("keys", type_=ARRAY(Text)), _LIMITS[1]
)
# The first number of an advisory lock of two; no other lock of this database has it.
LIMITS_LOCK = 0x6D62_0002
# Most operations finish sooner.
TRY_AGAIN_SECONDS = 5

_END = text(f"""
    WITH changed AS (
        UPDATE operations SET
            state = :state, result = :result, problem = :problem, progress = coalesce(:progress, progress),
            list_id = coalesce(:list_id, list_id), secret = NULL, worker = NULL, lease_until = NULL,
            ended_at = clock_timestamp()
        WHERE id = :id AND attempt = :attempt AND state = :was
        RETURNING {COLUMNS}
    ), {_RECORDED}, CASE WHEN keys <> '{{}}' THEN pg_notify(:freed, CAST(id AS text)) END FROM changed
""")  # noqa: S608
_END = _END.bindparams(
    *_EVENTS,
    *(bindparam(name, type_=Uuid) for name in ("id", "list_id")),
    *(bindparam(name, type_=Text) for name in ("state", "was")),
    *(bindparam(name, type_=JSON(none_as_null=True)) for name in ("result", "problem", "progress")),
    bindparam("attempt", type_=Integer),
    bindparam("freed", type_=Text),
)

# Operations that succeed in one transaction with one result, such as legs that completed a list together.
_SUCCEED_ALL = text("""
    WITH held AS (
        SELECT * FROM unnest(:ids, :attempts, :progresses) AS held (id, attempt, written)
    ), changed AS (
        UPDATE operations SET
            state = 'succeeded', result = :result, problem = NULL, list_id = :list_id, secret = NULL,
            progress = coalesce(CAST(written AS json), progress), worker = NULL, lease_until = NULL,
            ended_at = clock_timestamp()
        FROM held
        WHERE operations.id = held.id AND operations.attempt = held.attempt AND state = 'running'
        RETURNING operations.id, operations.attempt, progress, keys, written
    ), events AS (
        INSERT INTO operation_events (operation_id, kind, data)
        SELECT id, happened, json_build_object('state', state_then, 'attempt', attempt, 'progress', progress)
        FROM changed, (VALUES ('progress', 'running', 1), ('succeeded', 'succeeded', 2))
            AS event (happened, state_then, nth)
        WHERE happened = 'succeeded' OR written IS NOT NULL
        ORDER BY id, nth
    )
    SELECT id,
        (SELECT count(pg_notify(channel, CAST(changed.id AS text))) FROM unnest(:channels) AS channel),
        CASE WHEN keys <> '{}' THEN pg_notify(:freed, CAST(id AS text)) END
    FROM changed
""").bindparams(
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("attempts", type_=ARRAY(Integer)),
    bindparam("progresses", type_=ARRAY(Text)),
    bindparam("channels", type_=ARRAY(Text)),
    bindparam("result", type_=JSON),
    bindparam("list_id", type_=Uuid),
    bindparam("freed", type_=Text),
)


async def enqueue(tx: Transaction, new: NewOperation, limits: OperationLimits | None = None) -> Operation:
    """Store an operation; it is accepted once the transaction commits.

    Raises TooManyOperations or TooManyPushes at the limits.
    """
    values = {
        "id": new.id or uuid4(),
        "project_id": new.project_id,
        "kind": new.kind,
        "keys": list(dict.fromkeys(new.keys)),
        "registries": sorted(set(new.registries)),
        "priority": new.priority,
        "request": new.request,
        "secret": new.secret,
        "list_id": new.list_id,
        "push_id": new.push_id,
        "deadline_in": new.deadline_in,
        "created_by": new.created_by,
        "trace": new.trace,
        "token_id": new.token_id,
    }
    if limits is None:
        row = await _change(tx, _ENQUEUE, values, {State.QUEUED: State.QUEUED}, notify=[OPERATION_QUEUED])
        assert row is not None  # noqa: S101 - an INSERT of one row
        return view(row)
    # Concurrent transactions don't count each other's operations. Far below the limits that is harmless. Near
    # the limits, the transactions of a project take turns.
    if (row := await _enqueue_within(tx, values, limits.uncontested)) is None:
        lock = func.pg_advisory_xact_lock(LIMITS_LOCK, func.hashtext(str(new.project_id)))
        await tx.execute(select(lock))
        row = await _enqueue_within(tx, values, limits)
    if row is None:
        raise await _refusal(tx, values, limits)
    return view(row)


async def _enqueue_within(tx: Transaction, values: Json, limits: OperationLimits) -> Row[Any] | None:
    bounds = {"project_limit": limits.project, "key_limit": limits.key}
    happened: Mapping[str, str] = {State.QUEUED: State.QUEUED}
    return await _change(tx, _ENQUEUE_WITHIN, values | bounds, happened, notify=[OPERATION_QUEUED])


async def _refusal(tx: Transaction, values: Json, limits: OperationLimits) -> BrokerError:
    asked = {"project_id": values["project_id"], "keys": values["keys"], "key_limit": limits.key}
    key = (await tx.execute(_FULL_KEYS, asked)).scalars().first()
    if key is None:
        return TooManyOperations(
            f"The project has reached its limit of {limits.project} unfinished operations. Wait until some "
            "have ended, or cancel them.",
            limit=limits.project,
            retry_after=TRY_AGAIN_SECONDS,
        )
    tag = str(key).removeprefix(TAG_KEY)
    return TooManyPushes(
        f"The project has reached its limit of {limits.key} unfinished pushes to {tag}. Wait until some have "
        "ended, or cancel them.",
        reference=tag,
        limit=limits.key,
        retry_after=TRY_AGAIN_SECONDS,
    )


async def lock_sealed_otherwise(
    tx: Transaction, prefix: bytes, *, after: UUID | None, limit: int
) -> list[tuple[UUID, bytes]]:
    """Operations whose stored credential does not begin with the prefix, in the order of their ids."""
    statement = select(operations.c.id, operations.c.secret).where(*_sealed_otherwise(prefix))
    if after is not None:
        statement = statement.where(operations.c.id > after)
    rows = await tx.execute(statement.order_by(operations.c.id).limit(limit).with_for_update())
    return [(row.id, bytes(row.secret)) for row in rows]


async def count_sealed_otherwise(tx: Transaction, prefix: bytes) -> int:
    statement = select(func.count()).select_from(operations).where(*_sealed_otherwise(prefix))
    found: int = (await tx.execute(statement)).scalar_one()
    return found


def _sealed_otherwise(prefix: bytes) -> tuple[ColumnElement[bool], ...]:
    # Finished operations have no credential. States are literals, for the partial indexes.
    live = or_(operations.c.state == text("'queued'"), operations.c.state == text("'running'"))
    return live, begins_otherwise(operations.c.secret, prefix)


async def replace_secret(tx: Transaction, operation_id: UUID, secret: bytes) -> None:
    """Store the same credential after its re-encryption."""
    await tx.execute(update(operations).where(operations.c.id == operation_id).values(secret=secret))


async def request_cancel(tx: Transaction, project_id: UUID, operation_id: UUID) -> Operation:
    """Cancel a queued operation at once; notify the worker of a running one."""
    operation = await get(tx, project_id, operation_id)
    await tx.execute(select(operations.c.id).where(operations.c.id == operation_id).with_for_update())
    operation = await get(tx, project_id, operation_id)
    if operation.state is State.QUEUED:
        return await end(tx, operation_id, operation.attempt, State.QUEUED, State.CANCELLED)
    if operation.state.ended:
        raise OperationEnded(f"The operation {operation_id} has ended already: it is {operation.state}.")
    if not operation.cancel_requested:
        operation = await _notify_worker(tx, operation)
    return operation


async def _notify_worker(tx: Transaction, operation: Operation) -> Operation:
    statement = (
        update(operations)
        .where(operations.c.id == operation.id)
        .values(cancel_requested=True)
        .returning(operations)
    )
    operation = view((await tx.execute(statement)).one())
    await record_event(tx, operation, "cancel_requested", notify=[CANCEL_REQUESTED])
    return operation


class LostLease(Exception):
    """The attempt no longer owns the operation, and must do nothing more for it."""


async def end(
    tx: Transaction,
    operation_id: UUID,
    attempt: int,
    was: State,
    state: State,
    *,
    result: Json | None = None,
    problem: Json | None = None,
    list_id: UUID | None = None,
    progress: Json | None = None,
) -> Operation:
    """End the operation, from the state and the attempt that the caller knows; otherwise raise LostLease.

    Every operation ends here or in `succeed_all`. `list_id` is the list that the operation created or
    changed; `progress` is progress that was not written before.
    """
    values = {
        "id": operation_id,
        "attempt": attempt,
        "was": was,
        "state": state,
        "result": result,
        "problem": problem,
        "progress": progress,
        "list_id": list_id,
        # Operations that waited for its keys may run now.
        "freed": OPERATION_QUEUED,
    }
    events = {**({"progress": was} if progress is not None else {}), state: state}
    row = await _change(tx, _END, values, events, notify=[OPERATION_ENDED])
    if row is None:
        raise LostLease(f"Attempt {attempt} of operation {operation_id} has no lease.")
    return view(row)


@dataclass(frozen=True, slots=True)
class Ending:
    """An attempt that ends, and its progress if that was not written before."""

    id: UUID
    attempt: int
    progress: Json | None = None


async def succeed_all(tx: Transaction, endings: Sequence[Ending], result: Json, *, list_id: UUID) -> None:
    """End all of them with one result, or raise LostLease if one of them is lost."""
    values = {
        "ids": [each.id for each in endings],
        "attempts": [each.attempt for each in endings],
        "progresses": [dump_json(each.progress) if each.progress else None for each in endings],
        "result": result,
        "list_id": list_id,
        "channels": [OPERATION_CHANGED, OPERATION_ENDED],
        "freed": OPERATION_QUEUED,
    }
    changed = set((await tx.execute(_SUCCEED_ALL, values)).scalars())
    for each in endings:
        if each.id not in changed:
            raise LostLease(f"Attempt {each.attempt} of operation {each.id} has no lease.")


async def _change(
    tx: Transaction, statement: TextClause, values: Json, events: Mapping[str, str], *, notify: Sequence[str]
) -> Row[Any] | None:
    """The changed operation, or None; `events` has the state at each event, by the event's kind."""
    parameters = {
        "kinds": list(events),
        "states": list(events.values()),
        "channels": [OPERATION_CHANGED, *notify],
    }
    return (await tx.execute(statement, values | parameters)).one_or_none()


async def record_event(
    tx: Transaction, operation: Operation, kind: str, *, notify: Sequence[str] = (), **facts: object
) -> None:
    """Record an event while the operation's row is locked, so that ids grow in the order of the commits."""
    data = {"state": operation.state, "attempt": operation.attempt, "progress": operation.progress, **facts}
    if operation.problem is not None:
        data["problem"] = operation.problem
    # The insert sends the notifications, which saves their round trips.
    await tx.execute(
        insert(operation_events)
        .values(operation_id=operation.id, kind=kind, data=data)
        .returning(*(func.pg_notify(channel, str(operation.id)) for channel in (OPERATION_CHANGED, *notify)))
    )
