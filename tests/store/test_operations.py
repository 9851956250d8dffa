"""Operations as callers meet them."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, update

from app.errors import OperationNotFound
from app.operations.operation import OperationFilter
from app.operations.states import Kind, State
from app.store import operation_changes
from app.store import operations as store
from app.store.database import Database
from app.store.tables import operations
from tests.support.operation_queue import enqueued, event_kinds, new_project, read


async def test_an_operation_is_read_as_it_was_accepted(database: Database, project_id: UUID) -> None:
    id_, list_id, push_id = uuid4(), uuid4(), uuid4()
    operation = await enqueued(
        database,
        project_id,
        id=id_,
        kind=Kind.CREATE_LIST,
        request={"sources": ["a/b:c"], "amend": False},
        keys=("list x", "tag y"),
        list_id=list_id,
        push_id=push_id,
        created_by="ci",
    )
    assert operation == await read(database, operation)
    assert (operation.id, operation.kind, operation.state) == (id_, Kind.CREATE_LIST, State.QUEUED)
    assert (operation.list_id, operation.push_id, operation.created_by) == (list_id, push_id, "ci")
    assert operation.request == {"sources": ["a/b:c"], "amend": False}
    assert operation.keys == ("list x", "tag y")
    assert (operation.attempt, operation.result, operation.problem, operation.ended_at) == (
        0,
        None,
        None,
        None,
    )
    assert await event_kinds(database, operation) == ["queued"]


async def test_another_project_can_neither_see_nor_cancel_an_operation(
    database: Database, project_id: UUID
) -> None:
    operation = await enqueued(database, project_id)
    stranger = await new_project(database)
    async with database.transaction() as tx:
        assert await store.page(tx, stranger, limit=10) == []
        assert await store.events_after(tx, stranger, operation.id, 0, 10) == []
        with pytest.raises(OperationNotFound) as foreign:
            await store.get(tx, stranger, operation.id)
        with pytest.raises(OperationNotFound):
            await operation_changes.request_cancel(tx, stranger, operation.id)
        with pytest.raises(OperationNotFound) as nothing:
            await store.get(tx, project_id, uuid4())
    assert type(foreign.value) is type(nothing.value)
    assert (await read(database, operation)).state is State.QUEUED


async def test_pages_list_every_operation_from_the_newest_to_the_oldest(
    database: Database, project_id: UUID
) -> None:
    accepted = [(await enqueued(database, project_id)).id for _ in range(7)]
    seen: list[UUID] = []
    before = None
    async with database.transaction() as tx:
        while page := await store.page(tx, project_id, before=before, limit=3):
            seen += [operation.id for operation in page]
            before = (page[-1].created_at, page[-1].id)
    assert seen == accepted[::-1]


async def test_pages_list_every_operation_of_the_same_moment(database: Database, project_id: UUID) -> None:
    accepted = {(await enqueued(database, project_id)).id for _ in range(7)}
    seen: list[UUID] = []
    before = None
    async with database.transaction() as tx:
        await tx.execute(update(operations).values(created_at=func.now()))
        while page := await store.page(tx, project_id, before=before, limit=3):
            seen += [operation.id for operation in page]
            before = (page[-1].created_at, page[-1].id)
    assert len(seen) == 7
    assert set(seen) == accepted


async def test_a_page_is_filtered_by_state_kind_and_list(database: Database, project_id: UUID) -> None:
    list_id = uuid4()
    push = await enqueued(database, project_id, list_id=list_id)
    create = await enqueued(database, project_id, kind=Kind.CREATE_LIST, list_id=list_id)
    other = await enqueued(database, project_id)
    async with database.transaction() as tx:
        await operation_changes.request_cancel(tx, project_id, other.id)
        cancelled = await store.page(tx, project_id, OperationFilter(state=State.CANCELLED), limit=9)
        creates = await store.page(tx, project_id, OperationFilter(kind=Kind.CREATE_LIST), limit=9)
        of_list = await store.page(tx, project_id, OperationFilter(list_id=list_id), limit=9)
    assert [operation.id for operation in cancelled] == [other.id]
    assert [operation.id for operation in creates] == [create.id]
    assert [operation.id for operation in of_list] == [create.id, push.id]


async def test_events_are_read_after_the_last_one_seen(database: Database, project_id: UUID) -> None:
    operation = await enqueued(database, project_id)
    async with database.transaction() as tx:
        await operation_changes.request_cancel(tx, project_id, operation.id)
        first, second = await store.events_after(tx, project_id, operation.id, 0, 10)
        assert await store.events_after(tx, project_id, operation.id, first.id, 10) == [second]
        assert await store.events_after(tx, project_id, operation.id, 0, 1) == [first]
    assert second.data["state"] == "cancelled"
