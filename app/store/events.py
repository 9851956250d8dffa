"""The events of a project: a log that is read in the order of the commits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Row,
    Select,
    Text,
    Uuid,
    bindparam,
    cast,
    delete,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSON

from app.lists.events import EventFilter, EventKind, ProjectEvent
from app.store.database import Transaction
from app.store.notifications import PROJECT_EVENT
from app.store.paging import find_rows, narrowed_by_search
from app.store.tables import project_events

Json = dict[str, Any]

# The first of the two numbers of an advisory lock; the second is a hash of the project. Locks with one
# number, which this database has too, are independent of these.
EVENT_LOCKS = 0x6D62
KEPT_FOR = timedelta(days=30)
FORGOTTEN_AT_ONCE = 5_000
# The maximum number of bytes of events per read; a single larger event is still read.
READ_BYTES = 4 * 1_048_576
# The total bytes of the events before this one.
_SIZE = func.octet_length(cast(project_events.c.data, Text))
_SIZE_BEFORE = (func.sum(_SIZE).over(order_by=project_events.c.id) - _SIZE).label("size_before")


# Exactly as in the index: a parameter for the name would keep the planner from it.
_session = literal_column("project_events.data ->> 'session'", Text)

# Identity values are assigned before the commit: without the lock a reader could see event 10 before event 9,
# and miss 9 for good. The lock is taken before the value is assigned and held until the commit, so that one
# project's events are numbered in the order of their commits. MATERIALIZED keeps the planner from moving it.
_RECORD = text("""
    WITH locked AS MATERIALIZED (
        SELECT pg_advisory_xact_lock(:locks, hashtext(CAST(:project_id AS text)))
    )
    INSERT INTO project_events (project_id, kind, data, list_id, push_id)
    SELECT :project_id, :kind, :data, :list_id, :push_id FROM locked
    RETURNING id, created_at, pg_notify(:channel, CAST(project_id AS text))
""").bindparams(
    bindparam("project_id", type_=Uuid),
    bindparam("kind", type_=Text),
    bindparam("data", type_=JSON),
    bindparam("list_id", type_=Uuid),
    bindparam("push_id", type_=Uuid),
    bindparam("channel", type_=Text),
)


async def record(
    tx: Transaction,
    project_id: UUID,
    kind: EventKind,
    data: Json,
    *,
    list_id: UUID | None = None,
    push_id: UUID | None = None,
) -> ProjectEvent:
    """Record an event. Call this last: other writers of the project wait until the transaction ends."""
    values = {
        "locks": EVENT_LOCKS,
        "project_id": project_id,
        "kind": kind,
        "data": data,
        "list_id": list_id,
        "push_id": push_id,
        "channel": PROJECT_EVENT,
    }
    row = (await tx.execute(_RECORD, values)).one()
    session = data.get("session")
    return ProjectEvent(row.id, project_id, kind, data, list_id, push_id, session, row.created_at)


async def get(tx: Transaction, project_id: UUID, event_id: int) -> ProjectEvent:
    """An event that is known to exist."""
    statement = select(project_events).where(
        project_events.c.id == event_id, project_events.c.project_id == project_id
    )
    return _view((await tx.execute(statement)).one())


# For each project, find the newest excess event, and delete the oldest events up to it.
_EXCESS = text("""
    DELETE FROM project_events WHERE id IN (
        SELECT old.id
        FROM projects
        CROSS JOIN LATERAL (
            SELECT id FROM project_events WHERE project_id = projects.id ORDER BY id DESC OFFSET :kept LIMIT 1
        ) AS last
        CROSS JOIN LATERAL (
            SELECT id FROM project_events WHERE project_id = projects.id AND id <= last.id
            ORDER BY id LIMIT :limit
        ) AS old
    )
""")


async def newest(tx: Transaction, project_id: UUID) -> int:
    """The id of the last event; 0 before the first one."""
    last = select(func.coalesce(func.max(project_events.c.id), 0))
    found: int = (await tx.execute(last.where(project_events.c.project_id == project_id))).scalar_one()
    return found


async def read_after(
    tx: Transaction, project_id: UUID, after: int, wanted: EventFilter, limit: int
) -> tuple[Sequence[ProjectEvent], int, bool]:
    """The events after an id, oldest first; the id to continue from; and whether there may be more.

    The id to continue from is that of the last scanned event, so that filtered events are not scanned again.
    Large events can end the page before its limit.
    """
    end = await newest(tx, project_id)
    if end <= after:
        return (), after, False
    statement = _narrowed(project_id, wanted).where(project_events.c.id > after, project_events.c.id <= end)
    statement = statement.order_by(project_events.c.id).limit(limit)
    if wanted.session is not None:
        statement = await narrowed_by_search(tx, statement, project_events)
    some = statement.add_columns(_SIZE_BEFORE).subquery()
    number = select(func.count()).select_from(some).scalar_subquery()
    kept = select(some, number.label("number")).where(some.c.size_before < READ_BYTES).order_by(some.c.id)
    rows = (await tx.execute(kept)).all()
    events = [_view(row) for row in rows]
    has_more = len(events) == limit or (bool(rows) and len(rows) < rows[0].number)
    return events, events[-1].id if has_more else end, has_more


async def page(
    tx: Transaction, project_id: UUID, wanted: EventFilter, *, before: int | None, limit: int
) -> list[ProjectEvent]:
    """Newest first; `before` is the id of the last one seen."""
    statement = _narrowed(project_id, wanted)
    if before is not None:
        statement = statement.where(project_events.c.id < before)
    statement = statement.order_by(project_events.c.id.desc()).limit(limit)
    rows = await find_rows(tx, statement, project_events, by_search=wanted.session is not None)
    return [_view(row) for row in rows]


async def forget_old_events(tx: Transaction) -> int:
    """Remove the oldest events with their deliveries, up to a batch."""
    old = (
        select(project_events.c.id)
        .where(project_events.c.created_at < func.statement_timestamp() - KEPT_FOR)
        .order_by(project_events.c.created_at)
        .limit(FORGOTTEN_AT_ONCE)
    )
    return (await tx.execute(delete(project_events).where(project_events.c.id.in_(old)))).rowcount


async def forget_excess_events(tx: Transaction, *, kept: int) -> int:
    """Remove the oldest events of projects that have more than `kept`, up to a batch of each."""
    return (await tx.execute(_EXCESS, {"kept": kept, "limit": FORGOTTEN_AT_ONCE})).rowcount


def _narrowed(project_id: UUID, wanted: EventFilter) -> Select[Any]:
    statement = select(project_events).where(project_events.c.project_id == project_id)
    if wanted.kinds:
        statement = statement.where(project_events.c.kind.in_(sorted(wanted.kinds)))
    if wanted.list_id is not None:
        statement = statement.where(project_events.c.list_id == wanted.list_id)
    if wanted.session is not None:
        statement = statement.where(_session == wanted.session)
    return statement


def _view(row: Row[Any]) -> ProjectEvent:
    return ProjectEvent(
        id=row.id,
        project_id=row.project_id,
        kind=EventKind(row.kind),
        data=row.data,
        list_id=row.list_id,
        push_id=row.push_id,
        session=row.data.get("session"),
        created_at=row.created_at,
    )
