"""Tag heads: the run that has moved a tag last."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from app.lists.run_order import RunOrder
from app.oci.digest import Digest, parse_digest
from app.oci.reference import Reference, canonical_name
from app.store.database import Transaction
from app.store.tables import tag_heads


@dataclass(frozen=True, slots=True)
class TagHead:
    """The push that has moved a tag last, and the newest run that has moved it so far.

    `list_id` is that run's list, which may always push again; a restore belongs to no run.
    """

    order: RunOrder
    list_id: UUID | None
    push_id: UUID
    digest: Digest


async def load_heads(
    tx: Transaction, project_id: UUID, references: Collection[Reference]
) -> Mapping[Reference, TagHead]:
    """The heads by reference; only references that a push of this project has moved have one."""
    names = {reference: _names(reference) for reference in references}
    found = await _load(tx, project_id, {name for each in names.values() for name in each})
    heads = {reference: _newest_of(found, each) for reference, each in names.items()}
    return {reference: head for reference, head in heads.items() if head is not None}


def _names(reference: Reference) -> set[str]:
    """The canonical name, and the name under which earlier versions stored the head."""
    return {canonical_name(str(reference)), str(reference)}


def _newest_of(found: Mapping[str, TagHead], names: Iterable[str]) -> TagHead | None:
    newest: TagHead | None = None
    for name in sorted(names):
        if name in found:
            newest = found[name] if newest is None else _newest(newest, found[name])
    return newest


async def _load(tx: Transaction, project_id: UUID, names: Iterable[str]) -> Mapping[str, TagHead]:
    query = select(tag_heads).where(
        tag_heads.c.project_id == project_id, tag_heads.c.reference.in_(set(names))
    )
    return {
        row.reference: TagHead(
            RunOrder(row.began_at, row.run_number), row.list_id, row.push_id, parse_digest(row.digest)
        )
        for row in await tx.execute(query)
    }


async def save_head(
    tx: Transaction, project_id: UUID, references: Iterable[Reference], head: TagHead
) -> None:
    """Store that these tags lead to the push's index; their order is that of the newest run so far.

    An older run may move a tag if it puts the same index, or was allowed to; the newest run still counts.
    """
    # In one order everywhere, so that pushes with the same tags never deadlock. A reference by digest never
    # changes, and so has no head.
    spellings: dict[str, set[str]] = {}
    for each in references:
        if each.digest is None:
            spellings.setdefault(canonical_name(str(each)), set()).update(_names(each))
    if not spellings:
        return
    known = await _load(tx, project_id, {name for each in spellings.values() for name in each})
    rows = [_row(name, _newest(_newest_of(known, each), head)) for name, each in sorted(spellings.items())]
    statement = insert(tag_heads).values(
        project_id=project_id,
        push_id=head.push_id,
        digest=str(head.digest),
        moved_at=func.clock_timestamp(),
    )
    names = ("run_number", "began_at", "list_id", "push_id", "digest", "moved_at")
    renewed = {name: statement.excluded[name] for name in names}
    await tx.execute(
        statement.on_conflict_do_update(index_elements=["project_id", "reference"], set_=renewed), rows
    )


def _newest(known: TagHead | None, head: TagHead) -> TagHead:
    return known if known is not None and head.order.is_older_than(known.order) else head


def _row(reference: str, newest: TagHead) -> dict[str, object]:
    return {
        "reference": reference,
        "run_number": newest.order.number,
        "began_at": newest.order.began_at,
        "list_id": newest.list_id,
    }
