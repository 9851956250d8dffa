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
    canonical = {reference: canonical_name(str(reference)) for reference in references}
    found = await _load(tx, project_id, canonical.values())
    return {reference: found[name] for reference, name in canonical.items() if name in found}


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
    wanted = sorted({canonical_name(str(each)) for each in references if each.digest is None})
    if not wanted:
        return
    known = await _load(tx, project_id, wanted)
    rows = [_row(reference, _newest(known.get(reference), head)) for reference in wanted]
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
