"""Lists and their entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from app.errors import ListNotFound
from app.lists.draft import Draft, Entry, ImageFacts, ListState, Options
from app.oci.digest import parse_digest
from app.oci.index import Format
from app.oci.reference import Reference, parse_reference
from app.store.database import Transaction
from app.store.documents import (
    override_document,
    platform_document,
    read_descriptor,
    read_override,
    read_platform,
)
from app.store.tables import entries, lists

Position = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class ListFilter:
    """What a listing is narrowed to; None takes all."""

    reference: str | None = None
    registry: str | None = None
    repository: str | None = None
    session: str | None = None
    state: ListState | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


async def insert_list(tx: Transaction, project_id: UUID, draft: Draft) -> bool:
    """Store a new list with its entries; False when one of that reference and session is there already."""
    statement = (
        upsert(lists)
        .values(
            id=draft.id,
            project_id=project_id,
            created_by=draft.created_by,
            created_at=draft.created_at,
            **_key(draft),
            **_state(draft),
        )
        .on_conflict_do_nothing(constraint="uq_lists_project_reference_session")
        .returning(lists.c.id)
    )
    if (await tx.execute(statement)).first() is None:
        return False
    await _save_entries(tx, project_id, draft)
    return True


async def save_list(tx: Transaction, project_id: UUID, draft: Draft, *, removed: Iterable[UUID] = ()) -> None:
    """Store a list that was read with `lock=True` and changed; `removed` are the entries that have left."""
    await save_state(tx, project_id, draft)
    if leaving := list(removed):
        await tx.execute(delete(entries).where(entries.c.list_id == draft.id, entries.c.id.in_(leaving)))
    await _save_entries(tx, project_id, draft)


async def save_state(tx: Transaction, project_id: UUID, draft: Draft) -> None:
    """Store what a list says of itself, where its entries are as they were read."""
    await tx.execute(
        update(lists).where(lists.c.id == draft.id, lists.c.project_id == project_id).values(**_state(draft))
    )


async def get_list(tx: Transaction, project_id: UUID, list_id: UUID, *, lock: bool = False) -> Draft:
    """The list, or ListNotFound; with `lock`, no one else changes it before this transaction ends."""
    draft = await _find(tx, project_id, lists.c.id == list_id, lock=lock)
    if draft is None:
        raise ListNotFound(f"There is no list {list_id} in this project", list_id=str(list_id))
    return draft


async def find_list(
    tx: Transaction, project_id: UUID, reference: Reference, session: str, *, lock: bool = False
) -> Draft | None:
    key = (lists.c.reference == str(reference)) & (lists.c.session == session)
    return await _find(tx, project_id, key, lock=lock)


async def page_lists(
    tx: Transaction, project_id: UUID, wanted: ListFilter, *, before: Position | None, limit: int
) -> list[Draft]:
    """Newest first; `before` is the place of the last one seen."""
    query = select(lists).where(lists.c.project_id == project_id, *_conditions(wanted))
    if before is not None:
        query = query.where(tuple_(lists.c.created_at, lists.c.id) < before)
    query = query.order_by(lists.c.created_at.desc(), lists.c.id.desc()).limit(limit)
    rows = (await tx.execute(query)).all()
    return await _with_entries(tx, rows)


async def delete_list(tx: Transaction, project_id: UUID, list_id: UUID) -> bool:
    statement = delete(lists).where(lists.c.id == list_id, lists.c.project_id == project_id)
    return (await tx.execute(statement)).rowcount > 0


async def delete_expired_lists(tx: Transaction) -> int:
    return (await tx.execute(delete(lists).where(lists.c.expires_at < func.now()))).rowcount


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
            found[row.list_id].append(_read_entry(row))
    return [_read_list(row, found[row.id]) for row in rows]


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
    return conditions


async def _save_entries(tx: Transaction, project_id: UUID, draft: Draft) -> None:
    if not draft.entries:
        return
    rows = [_entry_values(project_id, draft.id, entry) for entry in draft.entries]
    statement = upsert(entries)
    changed = {name: statement.excluded[name] for name in rows[0] if name != "id"}
    # Rows beside the statement: within it, they would be compiled into another one for each number of them.
    await tx.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changed), rows)


def _key(draft: Draft) -> dict[str, Any]:
    return {
        "reference": str(draft.reference),
        "registry": draft.reference.registry,
        "repository": draft.reference.repository.path,
        "session": draft.session,
    }


def _state(draft: Draft) -> dict[str, Any]:
    options = draft.options
    return {
        "revision": draft.revision,
        "updated_at": draft.updated_at,
        "state": draft.state,
        "format": options.format,
        "annotations": dict(options.annotations),
        "artifact_type": options.artifact_type,
        "subject": options.subject.document() if options.subject else None,
        "tags": list(options.tags),
        "targets": [str(target) for target in options.targets],
        "labels": dict(options.labels),
        "expected_platforms": [platform_document(platform) for platform in options.expected_platforms],
        "push_when_complete": options.push_when_complete,
        "allow_duplicate_platforms": options.allow_duplicate_platforms,
        "insecure": options.insecure,
        "expires_at": options.expires_at,
        "push_operation_id": draft.push_operation_id,
        "last_push_id": draft.last_push_id,
    }


def _read_list(row: Row[Any], of_list: Sequence[Entry]) -> Draft:
    return Draft(
        id=row.id,
        reference=parse_reference(row.reference),
        session=row.session,
        revision=row.revision,
        state=ListState(row.state),
        options=Options(
            format=Format(row.format),
            annotations=row.annotations,
            artifact_type=row.artifact_type,
            subject=read_descriptor(row.subject),
            tags=tuple(row.tags),
            targets=tuple(parse_reference(target) for target in row.targets),
            labels=row.labels,
            expected_platforms=tuple(read_platform(document) for document in row.expected_platforms),
            push_when_complete=row.push_when_complete,
            allow_duplicate_platforms=row.allow_duplicate_platforms,
            insecure=row.insecure,
            expires_at=row.expires_at,
        ),
        entries=tuple(of_list),
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        push_operation_id=row.push_operation_id,
        last_push_id=row.last_push_id,
    )


def _entry_values(project_id: UUID, list_id: UUID, entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "list_id": list_id,
        "project_id": project_id,
        "reference": str(entry.reference),
        "digest": str(entry.digest),
        "media_type": entry.media_type,
        "size": entry.size,
        "artifact_type": entry.artifact_type,
        "resolved_platform": platform_document(entry.resolved_platform),
        "platform_override": override_document(entry.override),
        "annotations": dict(entry.annotations),
        "image": entry.image.document(),
        "added_by": entry.added_by,
        "added_at": entry.added_at,
    }


def _read_entry(row: Row[Any]) -> Entry:
    return Entry(
        id=row.id,
        reference=parse_reference(row.reference),
        media_type=row.media_type,
        digest=parse_digest(row.digest),
        size=row.size,
        resolved_platform=read_platform(row.resolved_platform),
        override=read_override(row.platform_override),
        annotations=row.annotations,
        image=ImageFacts(**row.image),
        added_by=row.added_by,
        added_at=row.added_at,
        artifact_type=row.artifact_type,
    )
