"""The log of a project is numbered in the order in which its readers get to see it."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.lists.events import ALL, EventFilter, EventKind
from app.store import events
from app.store.database import Database, Transaction
from tests.support.operation_queue import new_project, until

# Of the tests' own connections; the one that asks waits for nothing.
WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)

READ = text(
    "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'project_events'"
)


async def record(tx: Transaction, project_id: UUID, name: str) -> int:
    return (await events.record(tx, project_id, EventKind.LIST_CHANGED, {"name": name})).id


async def recorded(database: Database, project_id: UUID, name: str) -> int:
    async with database.transaction() as tx:
        return await record(tx, project_id, name)


async def read(database: Database, project_id: UUID, after: int = 0) -> tuple[list[str], int]:
    async with database.transaction() as tx:
        found, end, _ = await events.read_after(tx, project_id, after, ALL, 100)
    return [event.data["name"] for event in found], end


async def is_waiting(database: Database) -> bool:
    async with database.transaction() as tx:
        return bool((await tx.execute(WAITING)).scalar_one())


async def test_a_reader_skips_no_event_of_a_slower_writer(database: Database, project_id: UUID) -> None:
    seen: list[str] = []
    async with database.transaction() as first:
        await record(first, project_id, "first")
        later = asyncio.create_task(recorded(database, project_id, "later"))

        async def has_had_its_chance() -> bool:
            return later.done() or await is_waiting(database)

        await until(has_had_its_chance)
        names, end = await read(database, project_id)
        seen += names
    await later
    names, _ = await read(database, project_id, end)
    assert seen + names == ["first", "later"]


async def test_writers_of_different_projects_do_not_wait_for_each_other(
    database: Database, project_id: UUID
) -> None:
    other = await new_project(database)
    async with database.transaction() as tx:
        await record(tx, project_id, "mine")
        await recorded(database, other, "theirs")
        assert (await read(database, other))[0] == ["theirs"]


async def test_a_rollback_removes_its_events(database: Database, project_id: UUID) -> None:
    async with database.transaction() as tx:
        await record(tx, project_id, "never")
        await tx.rollback()
    await recorded(database, project_id, "once")
    assert (await read(database, project_id))[0] == ["once"]


async def test_a_reader_does_not_scan_filtered_events_again(database: Database, project_id: UUID) -> None:
    last = [await recorded(database, project_id, str(number)) for number in range(3)][-1]
    async with database.transaction() as tx:
        pushed = EventFilter(frozenset({EventKind.LIST_PUSHED}))
        assert await events.read_after(tx, project_id, 0, pushed, 100) == ([], last, False)
        found, end, _ = await events.read_after(tx, project_id, 0, ALL, 2)
    assert ([event.data["name"] for event in found], end) == (["0", "1"], last - 1)


async def test_old_events_are_removed(database: Database, project_id: UUID) -> None:
    for name, age in (("old", 31), ("young", 29)):
        identity = await recorded(database, project_id, name)
        async with database.transaction() as tx:
            await tx.execute(
                text("UPDATE project_events SET created_at = now() - :age * interval '1 day' WHERE id = :id"),
                {"age": age, "id": identity},
            )
    async with database.transaction() as tx:
        assert await events.forget_old_events(tx) == 1
    assert (await read(database, project_id))[0] == ["young"]


@pytest.mark.parametrize(
    "wanted", [EventFilter(list_id=uuid4()), EventFilter(session="run-7")], ids=["list", "session"]
)
async def test_the_events_of_one_list_or_session_are_found_by_index(
    database: Database, project_id: UUID, wanted: EventFilter
) -> None:
    fill = """
        INSERT INTO project_events (project_id, kind, data, list_id)
        SELECT :project_id, 'list.changed', json_build_object('session', 'run-' || nth % 1000),
            gen_random_uuid()
        FROM generate_series(1, 5000) AS nth
    """
    async with database.transaction() as tx:
        await tx.execute(text(fill), {"project_id": project_id})
    async with database.transaction() as tx:
        await tx.execute(text("ANALYZE project_events"))
    async with database.transaction() as tx:
        found = await events.page(tx, project_id, wanted, before=None, limit=50)
        assert (await tx.execute(READ)).scalar_one() < 100
    assert len(found) == (0 if wanted.session is None else 5)
