"""Lists and their entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Row,
    Select,
    Text,
    cast,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from app.errors import ListNotFound
from app.lists.draft import Draft, Entry, ListState
from app.lists.origins.copying import find_copied
from app.lists.views import ListFilter
from app.oci.reference import Reference
from app.projects.paging import Position
from app.store.codec.list_rows import encode_entry, encode_name, encode_state, read_entry, read_list
from app.store.database import Transaction
from app.store.manifests import load_manifests
from app.store.notifications import LIST_CHANGED
from app.store.paging import find_rows, newest_first
from app.store.tables import entries, lists


def within(
    column: Column[Any], since: datetime | None, until: datetime | None
) -> Iterator[ColumnElement[bool]]:
    """Conditions for a time from `since` on and before `until`."""
    if since is not None:
        yield column >= since
    if until is not None:
        yield column < until


async def insert_list(tx: Transaction, project_id: UUID, draft: Draft) -> bool:
    """Store a new list with its entries; False if the reference and the session have a list already."""
    statement = (
        upsert(lists)
        .values(
            id=draft.id,
            project_id=project_id,
            created_by=draft.created_by,
            created_at=draft.created_at,
            **encode_name(draft),
            **encode_state(draft),
        )
        .on_conflict_do_nothing(constraint="uq_lists_project_reference_session")
        .returning(lists.c.id)
    )
    if (await tx.execute(statement)).first() is None:
        return False
    await _save_entries(tx, project_id, draft.id, draft.entries)
    return True


async def save_list(tx: Transaction, project_id: UUID, before: Draft, after: Draft) -> None:
    """Store a changed list that was read with `lock=True`, and its entries that differ."""
    await save_state(tx, project_id, after)
    removed = {entry.id for entry in before.entries} - {entry.id for entry in after.entries}
    if removed:
        await tx.execute(delete(entries).where(entries.c.list_id == after.id, entries.c.id.in_(removed)))
    known = {entry.id: entry for entry in before.entries}
    changed = [entry for entry in after.entries if known.get(entry.id) != entry]
    await _save_entries(tx, project_id, after.id, changed)


async def save_state(tx: Transaction, project_id: UUID, draft: Draft) -> None:
    """Store a list without its entries, and notify the callers that wait for it."""
    await tx.execute(
        update(lists)
        .where(lists.c.id == draft.id, lists.c.project_id == project_id)
        .values(**encode_state(draft))
        .returning(_notify())
    )


async def get_list(tx: Transaction, project_id: UUID, list_id: UUID, *, lock: bool = False) -> Draft:
    """The list, or ListNotFound; `lock` locks it until the transaction ends."""
    draft = await _find(tx, project_id, lists.c.id == list_id, lock=lock)
    if draft is None:
        raise _no_list(list_id)
    return draft


def _no_list(list_id: UUID) -> ListNotFound:
    return ListNotFound(f"The project has no list {list_id}.", list_id=str(list_id))


async def get_state(tx: Transaction, project_id: UUID, list_id: UUID) -> ListState:
    query = select(lists.c.state).where(lists.c.project_id == project_id, lists.c.id == list_id)
    state = (await tx.execute(query)).scalar_one_or_none()
    if state is None:
        raise _no_list(list_id)
    return ListState(state)


@dataclass(frozen=True, slots=True)
class DuePush:
    """The problem of a failed list, and the push that its completion started."""

    problem: Mapping[str, Any] | None
    push_operation_id: UUID | None


async def find_due_push(tx: Transaction, project_id: UUID, list_id: UUID) -> DuePush | None:
    query = select(lists.c.problem, lists.c.push_operation_id).where(
        lists.c.project_id == project_id, lists.c.id == list_id
    )
    row = (await tx.execute(query)).one_or_none()
    return DuePush(row.problem, row.push_operation_id) if row is not None else None


async def find_list(
    tx: Transaction, project_id: UUID, reference: Reference, session: str, *, lock: bool = False
) -> Draft | None:
    return await _find(tx, project_id, _named(reference, session), lock=lock)


async def find_list_id(tx: Transaction, project_id: UUID, reference: Reference, session: str) -> UUID | None:
    query = select(lists.c.id).where(lists.c.project_id == project_id, _named(reference, session))
    found: UUID | None = (await tx.execute(query)).scalar_one_or_none()
    return found


def _named(reference: Reference, session: str) -> ColumnElement[bool]:
    return (lists.c.reference == str(reference)) & (lists.c.session == session)


async def page_lists(
    tx: Transaction, project_id: UUID, wanted: ListFilter, *, before: Position | None, limit: int
) -> list[Draft]:
    """Newest first; `before` is the position of the last one seen."""
    query = select(lists).where(lists.c.project_id == project_id, *_conditions(wanted))
    page = newest_first(query, lists, before, limit)
    rows = await find_rows(tx, page, lists, by_search=bool(wanted.labels))
    return await _with_entries(tx, rows)


async def delete_list(tx: Transaction, project_id: UUID, list_id: UUID) -> bool:
    statement = delete(lists).where(lists.c.id == list_id, lists.c.project_id == project_id)
    return (await tx.execute(statement.returning(_notify()))).first() is not None


def _notify() -> ColumnElement[Any]:
    return func.pg_notify(LIST_CHANGED, cast(lists.c.id, Text))


async def lock_late_list(tx: Transaction) -> tuple[UUID, Draft] | None:
    """Lock an open list that has not changed since its deadline; return it with its project."""
    query = (
        select(lists)
        # The state is a literal, because a parameter would keep the planner from the partial index.
        .where(
            lists.c.state == text("'open'"),
            lists.c.complete_by <= func.statement_timestamp(),
            lists.c.updated_at < lists.c.complete_by,
        )
        .order_by(lists.c.complete_by)
    )
    return await _lock_one(tx, query)


async def _lock_one(tx: Transaction, query: Select[Any]) -> tuple[UUID, Draft] | None:
    row = (await tx.execute(query.limit(1).with_for_update(skip_locked=True))).first()
    return (row.project_id, (await _with_entries(tx, [row]))[0]) if row is not None else None


async def lock_expired_list(tx: Transaction) -> tuple[UUID, Draft] | None:
    """Lock an expired list; return it with its project."""
    query = select(lists).where(lists.c.expires_at < func.now()).order_by(lists.c.expires_at)
    return await _lock_one(tx, query)


async def _find(
    tx: Transaction, project_id: UUID, condition: ColumnElement[bool], *, lock: bool
) -> Draft | None:
    query = select(lists).where(lists.c.project_id == project_id, condition)
    row = (await tx.execute(query.with_for_update() if lock else query)).first()
    return (await _with_entries(tx, [row]))[0] if row is not None else None


async def _with_entries(tx: Transaction, rows: Sequence[Row[Any]]) -> list[Draft]:
    found: dict[UUID, list[Entry]] = {row.id: [] for row in rows}
    if found:
        query = select(entries).where(entries.c.list_id.in_(found)).order_by(entries.c.added_at, entries.c.id)
        for row in await tx.execute(query):
            found[row.list_id].append(read_entry(row))
    drafts = [read_list(row, found[row.id]) for row in rows]
    return await _with_copied(tx, rows[0].project_id, drafts) if rows else []


async def with_copied(tx: Transaction, project_id: UUID, draft: Draft) -> Draft:
    """The list with the source that it copies, if it is an exact copy."""
    return (await _with_copied(tx, project_id, [draft]))[0]


async def _with_copied(tx: Transaction, project_id: UUID, drafts: Sequence[Draft]) -> list[Draft]:
    references = [find_copied(draft) for draft in drafts]
    digests = [None if copied is None else copied.digest for copied in references]
    wanted = [digest for digest in digests if digest is not None]
    found = await load_manifests(tx, project_id, wanted) if wanted else {}
    return [
        replace(draft, copied=None if digest is None else found[digest])
        for draft, digest in zip(drafts, digests, strict=True)
    ]


def _conditions(wanted: ListFilter) -> list[ColumnElement[bool]]:
    exact = {
        lists.c.reference: wanted.reference,
        lists.c.registry: wanted.registry,
        lists.c.repository: wanted.repository,
        lists.c.session: wanted.session,
        lists.c.state: wanted.state,
    }
    conditions = [column == value for column, value in exact.items() if value is not None]
    if wanted.labels:
        conditions.append(lists.c.labels.contains(dict(wanted.labels)))
    return [*conditions, *within(lists.c.created_at, wanted.since, wanted.until)]


async def _save_entries(tx: Transaction, project_id: UUID, list_id: UUID, changed: Sequence[Entry]) -> None:
    if not changed:
        return
    rows = [encode_entry(project_id, list_id, entry) for entry in changed]
    statement = upsert(entries)
    renewed = {name: statement.excluded[name] for name in rows[0] if name != "id"}
    # Rows as parameters: as values of the statement, each number of rows would compile a statement of its
    # own.
    await tx.execute(statement.on_conflict_do_update(index_elements=["id"], set_=renewed), rows)
