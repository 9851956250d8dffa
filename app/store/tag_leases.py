"""Tag leases: the push that may move a tag now, and the last push that moved it.

Times come from the database's clock. No transaction stays open during a request to a registry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Integer,
    Interval,
    LargeBinary,
    Row,
    Text,
    Uuid,
    bindparam,
    delete,
    func,
    select,
    text,
    update,
)

from app.oci.reference import Reference, canonical_name
from app.operations.operation import TAG_KEY
from app.operations.tag_leases import (
    LEASE,
    LONGEST_CONTESTED,
    Grant,
    LastMove,
    LeaseRequest,
    TagState,
    Waiting,
    ask,
    is_newer,
)
from app.store.database import Transaction
from app.store.notifications import TAG_LEASE
from app.store.tables import tag_leases

# Longer than the deadline of any push, so no live push was accepted before a move of this age.
KEPT_FOR = timedelta(days=1)
FORGOTTEN_AT_ONCE = 5_000
# The prefix of worker names in this version. Workers of the previous version take no leases.
TAKES_LEASES = "leases:"

_PARAMETERS = (
    bindparam("tag", type_=LargeBinary),
    bindparam("operation", type_=Uuid),
    bindparam("attempt", type_=Integer),
)
# A worker of the previous version is running a push of the tag.
_BUSY = """
    EXISTS (
        SELECT FROM operations
        WHERE state = 'running' AND id <> :operation AND :key = ANY(keys) AND worker NOT LIKE :marked
    )
"""
_BUSY_PARAMETERS = (bindparam("key", type_=Text), bindparam("marked", type_=Text))

# The usual case in one statement: the lease is free, nobody waits, and no other project moved the tag.
_TAKE_FREE = text(f"""
    INSERT INTO tag_leases AS lease (tag, holder, attempt, held_since, held_until)
    SELECT :tag, :operation, :attempt, clock_timestamp(), clock_timestamp() + :lease WHERE NOT {_BUSY}
    ON CONFLICT (tag) DO UPDATE SET
        holder = excluded.holder, attempt = excluded.attempt, held_since = excluded.held_since,
        held_until = excluded.held_until, updated_at = clock_timestamp()
    WHERE coalesce(lease.held_until < clock_timestamp(), true) AND lease.waiting = '{{}}'
      AND coalesce(lease.moved_by = :project, true)
    RETURNING true
""").bindparams(
    *_PARAMETERS, *_BUSY_PARAMETERS, bindparam("project", type_=Uuid), bindparam("lease", type_=Interval)
)
_LOCK = text(f"""
    INSERT INTO tag_leases (tag) VALUES (:tag)
    ON CONFLICT (tag) DO UPDATE SET updated_at = clock_timestamp()
    RETURNING *, clock_timestamp() AS now, {_BUSY} AS is_busy
""").bindparams(  # noqa: S608
    bindparam("tag", type_=LargeBinary), bindparam("operation", type_=Uuid), *_BUSY_PARAMETERS
)
_RENEW = text("""
    UPDATE tag_leases SET held_until = clock_timestamp() + :lease
    WHERE tag = :tag AND holder = :operation AND attempt = :attempt AND held_until > clock_timestamp() AND (
        held_since > clock_timestamp() - :longest
        OR NOT EXISTS (SELECT FROM unnest(waiting_until) AS until WHERE until > clock_timestamp())
    )
    RETURNING true
""").bindparams(*_PARAMETERS, bindparam("lease", type_=Interval), bindparam("longest", type_=Interval))
# A move recorded after the lease's end counts only if its push is the later one.
_END = text("""
    UPDATE tag_leases SET
        holder = CASE WHEN mine THEN NULL ELSE holder END,
        held_until = CASE WHEN mine THEN NULL ELSE held_until END,
        moved_order = CASE WHEN moves THEN greatest(moved_order, :order) ELSE moved_order END,
        moved_by = CASE WHEN moves THEN :project ELSE moved_by END,
        moved_digest = CASE WHEN moves THEN :digest ELSE moved_digest END,
        moved_at = CASE WHEN :moved THEN clock_timestamp() ELSE moved_at END,
        updated_at = clock_timestamp()
    FROM (
        SELECT tag AS found, mine, :moved AND (mine OR coalesce(moved_order < :order, true)) AS moves FROM (
            SELECT tag, moved_order, coalesce(holder = :operation AND attempt = :attempt, false) AS mine
            FROM tag_leases WHERE tag = :tag FOR UPDATE
        ) AS lease
    ) AS decided
    WHERE tag = found
    RETURNING pg_notify(:freed, encode(tag, 'hex'))
""").bindparams(
    *_PARAMETERS,
    bindparam("moved"),
    bindparam("order", type_=BigInteger),
    bindparam("project", type_=Uuid),
    bindparam("digest", type_=Text),
    bindparam("freed", type_=Text),
)


def lease_id(tag: Reference) -> bytes:
    """The key of a tag's lease. It reveals nothing about the tag."""
    return hashlib.sha256(canonical_name(str(tag)).encode()).digest()


async def take_free(tx: Transaction, tag: Reference, request: LeaseRequest) -> bool:
    """Take the lease if it is free and no other project has moved the tag or waits for it."""
    values = _values(tag, request) | _busy_values(tag) | {"project": request.project_id, "lease": LEASE}
    return (await tx.execute(_TAKE_FREE, values)).first() is not None


async def ask_for(tx: Transaction, tag: Reference, request: LeaseRequest) -> Grant:
    """Take the lease, or queue for it. This needs a transaction of its own."""
    values = {"tag": lease_id(tag), "operation": request.operation_id, **_busy_values(tag)}
    row = (await tx.execute(_LOCK, values)).one()
    before = _view(row)
    grant, after = ask(before, request, row.now, is_busy=row.is_busy)
    if after != before:
        await _write(tx, row.tag, after)
    return grant


async def renew(tx: Transaction, tag: Reference, request: LeaseRequest) -> bool:
    """Renew the lease; False if it has ended, or if other pushes have waited too long."""
    values = _values(tag, request) | {"lease": LEASE, "longest": LONGEST_CONTESTED}
    return (await tx.execute(_RENEW, values)).first() is not None


async def end(tx: Transaction, tag: Reference, request: LeaseRequest, *, moved: bool) -> None:
    """End the lease, and record whether the tag has moved."""
    values = _values(tag, request) | {
        "moved": moved,
        "order": request.order,
        "project": request.project_id,
        "digest": request.digest,
        "freed": TAG_LEASE,
    }
    await tx.execute(_END, values)


async def leave(tx: Transaction, tag: Reference, operation_id: UUID) -> None:
    """Leave the queue. This needs a transaction of its own."""
    locked = select(tag_leases).where(tag_leases.c.tag == lease_id(tag)).with_for_update()
    row = (await tx.execute(locked)).one_or_none()
    if row is not None:
        state = _view(row)
        waiting = tuple(each for each in state.waiting if each.operation_id != operation_id)
        await tx.execute(
            update(tag_leases)
            .where(tag_leases.c.tag == row.tag)
            .values(**_waiting_values(waiting))
            .returning(func.pg_notify(TAG_LEASE, row.tag.hex()))
        )


async def find_newer(tx: Transaction, tags: Collection[Reference], request: LeaseRequest) -> list[Reference]:
    """The tags that later pushes of other projects have moved."""
    by_id = {lease_id(tag): tag for tag in tags}
    query = select(tag_leases).where(tag_leases.c.tag.in_(by_id))
    return [
        by_id[bytes(row.tag)]
        for row in await tx.execute(query)
        if is_newer(_view(row).last, request.project_id, request.order, request.digest)
    ]


async def forget_old(tx: Transaction, *, limit: int = FORGOTTEN_AT_ONCE) -> int:
    """Remove leases that have been unchanged for longer than any push can live."""
    old = (
        select(tag_leases.c.tag)
        .where(tag_leases.c.updated_at < func.statement_timestamp() - KEPT_FOR)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return (await tx.execute(delete(tag_leases).where(tag_leases.c.tag.in_(old)))).rowcount


def _values(tag: Reference, request: LeaseRequest) -> dict[str, object]:
    return {"tag": lease_id(tag), "operation": request.operation_id, "attempt": request.attempt}


def _busy_values(tag: Reference) -> dict[str, object]:
    return {"key": f"{TAG_KEY}{canonical_name(str(tag))}", "marked": f"{TAKES_LEASES}%"}


def _view(row: Row[Any]) -> TagState:
    last = None
    if row.moved_by is not None:
        last = LastMove(row.moved_by, row.moved_order, row.moved_digest, row.moved_at)
    holder = (row.holder, row.attempt) if row.holder is not None else None
    waiting = tuple(map(Waiting, row.waiting, row.waiting_until))
    return TagState(holder, row.held_since, row.held_until, waiting, last)


async def _write(tx: Transaction, tag: bytes, state: TagState) -> None:
    holder, attempt = state.holder or (None, None)
    await tx.execute(
        update(tag_leases)
        .where(tag_leases.c.tag == tag)
        .values(
            holder=holder,
            attempt=attempt,
            held_since=state.held_since,
            held_until=state.held_until,
            **_waiting_values(state.waiting),
        )
    )


def _waiting_values(waiting: Sequence[Waiting]) -> dict[str, Any]:
    return {
        "waiting": [each.operation_id for each in waiting],
        "waiting_until": [each.until for each in waiting],
    }
