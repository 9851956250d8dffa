"""Pushes: their plans, which are stored before the first request, and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB

from app.errors import PushNotFound
from app.lists.difference import Difference
from app.lists.push_result import PushResult, TargetReached
from app.lists.pushes import Push, PushFilter, PushState
from app.oci.digest import Digest, parse_digest
from app.oci.manifest import Manifest
from app.oci.reference import Reference, parse_reference
from app.projects.paging import Position
from app.store.codec.plans import encode_plan, read_plan
from app.store.codec.pushes import (
    encode_differences,
    encode_kept_reached,
    encode_kept_result,
    encode_previous,
    read_differences,
    read_previous,
    read_reached,
    read_result,
)
from app.store.database import Transaction
from app.store.lists import within
from app.store.paging import find_rows, newest_first
from app.store.tables import pushes


async def insert_push(tx: Transaction, project_id: UUID, push: Push) -> None:
    index = push.plan.index
    own = push.reference.repository
    repositories = [own, *(target.repository for target in push.plan.targets)]
    await tx.execute(
        insert(pushes).values(
            id=push.id,
            project_id=project_id,
            operation_id=push.operation_id,
            list_id=push.list_id,
            reference=str(push.reference),
            registry=own.registry,
            repository=own.path,
            session=push.session,
            references=sorted({str(each) for each in (push.reference, *push.plan.references)}),
            registries=sorted({each.registry for each in repositories}),
            repositories=sorted({each.path for each in repositories}),
            labels=dict(push.labels),
            digest=str(index.digest),
            media_type=index.media_type,
            raw=index.raw,
            plan=encode_plan(push.plan),
            restores=push.restores,
            created_by=push.created_by,
        )
    )


async def end_push(
    tx: Transaction,
    project_id: UUID,
    push_id: UUID,
    state: PushState,
    *,
    ended_at: datetime | None,
    result: PushResult | None = None,
    problem: Mapping[str, Any] | None = None,
) -> None:
    await tx.execute(
        update(pushes)
        .where(pushes.c.id == push_id, pushes.c.project_id == project_id)
        .values(
            state=state,
            result=encode_kept_result(result) if result is not None else None,
            problem=problem,
            ended_at=ended_at,
        )
    )


async def keep_previous(
    tx: Transaction,
    push_id: UUID,
    found: Mapping[Reference, Digest | None],
    differences: Mapping[Reference, Difference],
    *,
    own: Digest,
) -> None:
    """Store what references lead to before they are moved.

    A reference that leads to the push's `own` index was moved by an earlier attempt, which has stored it.
    """
    moved = {reference: digest for reference, digest in found.items() if digest == own}
    others = {reference: digest for reference, digest in found.items() if digest != own}
    await tx.execute(
        update(pushes)
        .where(pushes.c.id == push_id)
        .values(
            previous=bindparam("moved", encode_previous(moved), JSONB)
            .concat(pushes.c.previous)
            .concat(bindparam("others", encode_previous(others), JSONB)),
            differences=pushes.c.differences.concat(
                bindparam("differing", encode_differences(differences), JSONB)
            ),
        )
    )


async def keep_reached(tx: Transaction, push_id: UUID, reached: Sequence[TargetReached]) -> None:
    documents = encode_kept_reached(reached)
    await tx.execute(update(pushes).where(pushes.c.id == push_id).values(reached=documents))


async def get_push(tx: Transaction, project_id: UUID, push_id: UUID) -> Push:
    query = select(pushes).where(pushes.c.id == push_id, pushes.c.project_id == project_id)
    row = (await tx.execute(query)).first()
    if row is None:
        raise PushNotFound(f"The project has no push {push_id}.")
    return _read(row)


async def page_pushes(
    tx: Transaction, project_id: UUID, wanted: PushFilter, *, before: Position | None, limit: int
) -> list[Push]:
    """Newest first; `before` is the position of the last one seen."""
    exact = {
        pushes.c.session: wanted.session,
        pushes.c.list_id: wanted.list_id,
        pushes.c.state: wanted.state,
    }
    query = select(pushes).where(
        pushes.c.project_id == project_id,
        *(column == value for column, value in exact.items() if value is not None),
        *within(pushes.c.created_at, wanted.since, wanted.until),
    )
    contained = [
        column.contains([name])
        for column, name in (
            (pushes.c.references, wanted.reference),
            (pushes.c.registries, wanted.registry),
            (pushes.c.repositories, wanted.repository),
        )
        if name is not None
    ]
    if wanted.labels:
        contained.append(pushes.c.labels.contains(dict(wanted.labels)))
    page = newest_first(query.where(*contained), pushes, before, limit)
    return [_read(row) for row in await find_rows(tx, page, pushes, by_search=bool(contained))]


def _read(row: Row[Any]) -> Push:
    index = Manifest(row.media_type, bytes(row.raw), parse_digest(row.digest))
    return Push(
        id=row.id,
        operation_id=row.operation_id,
        list_id=row.list_id,
        reference=parse_reference(row.reference),
        session=row.session,
        labels=row.labels,
        plan=read_plan(index, row.plan),
        created_by=row.created_by,
        state=PushState(row.state),
        previous=read_previous(row.previous),
        differences=read_differences(row.differences),
        reached=read_reached(row.reached),
        result=read_result(row.result) if row.result is not None else None,
        problem=row.problem,
        restores=row.restores,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )
