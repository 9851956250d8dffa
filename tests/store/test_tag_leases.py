"""The leases of tags in the database, which all workers share."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from app.oci.reference import Reference, parse_reference
from app.operations.capacity import FreeSlots
from app.operations.tag_leases import LEASE, LONGEST_CONTESTED, Grant, LeaseRequest
from app.store import queue, tag_leases
from app.store.database import Database
from app.store.row_security.scopes import SYSTEM
from app.store.tables import operations
from app.store.tables import tag_leases as table
from tests.support.operation_queue import HOUR, enqueued, new_project

TAG = parse_reference("registry.example/team/release:1")
SAME = parse_reference("registry.example:443/team/release:1")


async def request(database: Database, project_id: UUID, *, has_written: bool = True) -> LeaseRequest:
    """That of a push of the tag that runs."""
    await enqueued(database, project_id, keys=(f"push:{TAG}",))
    async with database.transaction(SYSTEM) as tx:
        (claimed,) = await queue.claim(tx, worker="one", free=FreeSlots(1), lease=HOUR)
    operation = claimed.operation
    return LeaseRequest(
        operation.id,
        operation.attempt,
        project_id,
        operation.sequence,
        str(operation.id),
        operation.run_at,
        has_written,
    )


async def take(database: Database, push: LeaseRequest, tag: Reference = TAG) -> bool:
    async with database.transaction(SYSTEM) as tx:
        return await tag_leases.take_free(tx, tag, push)


async def ask(database: Database, push: LeaseRequest, tag: Reference = TAG) -> Grant:
    async with database.transaction(SYSTEM) as tx:
        return await tag_leases.ask_for(tx, tag, push)


async def renew(database: Database, push: LeaseRequest) -> bool:
    async with database.transaction(SYSTEM) as tx:
        return await tag_leases.renew(tx, TAG, push)


async def end(database: Database, push: LeaseRequest, *, moved: bool = True) -> None:
    async with database.transaction(SYSTEM) as tx:
        await tag_leases.end(tx, TAG, push, moved=moved)


async def find_newer(database: Database, push: LeaseRequest) -> list[Reference]:
    async with database.transaction(SYSTEM) as tx:
        return await tag_leases.find_newer(tx, [TAG], push)


async def age(database: Database, **columns: timedelta) -> None:
    """Let time pass for these columns."""
    values: dict[str, Any] = {name: table.c[name] - by for name, by in columns.items()}
    async with database.transaction(SYSTEM) as tx:
        await tx.execute(update(table).values(values))


async def test_a_lease_excludes_every_other_push_of_the_tag_under_any_of_its_names(
    database: Database, project_id: UUID
) -> None:
    ours, theirs = (
        await request(database, project_id),
        await request(database, await new_project(database)),
    )
    assert await take(database, ours)
    assert not await take(database, theirs, SAME)
    assert await ask(database, theirs, SAME) is Grant.WAIT
    assert await take(database, theirs, parse_reference("registry.example/team/release:2"))


async def test_an_end_lets_the_next_one_in(database: Database, project_id: UUID) -> None:
    ours, theirs = (
        await request(database, project_id),
        await request(database, await new_project(database)),
    )
    await take(database, ours)
    await ask(database, theirs)
    await end(database, ours)
    # A short cut past the one that waits is closed.
    assert not await take(database, ours)
    assert await ask(database, theirs) is Grant.TAKEN_STALE


async def test_a_lease_that_nobody_renews_ends(database: Database, project_id: UUID) -> None:
    ours, theirs = (
        await request(database, project_id),
        await request(database, await new_project(database)),
    )
    await take(database, ours)
    await age(database, held_until=LEASE)
    assert not await renew(database, ours)
    assert await take(database, theirs)


async def test_a_lease_is_renewed_for_as_long_as_nobody_waits(database: Database, project_id: UUID) -> None:
    ours, theirs = (
        await request(database, project_id),
        await request(database, await new_project(database)),
    )
    await take(database, ours)
    await age(database, held_since=LONGEST_CONTESTED)
    assert await renew(database, ours)
    await ask(database, theirs)
    assert not await renew(database, ours)
    async with database.transaction(SYSTEM) as tx:
        await tag_leases.leave(tx, TAG, theirs.operation_id)
    assert await renew(database, ours)


async def test_a_contested_lease_is_renewed_for_a_while(database: Database, project_id: UUID) -> None:
    ours, theirs = (
        await request(database, project_id),
        await request(database, await new_project(database)),
    )
    await take(database, ours)
    await ask(database, theirs)
    assert await renew(database, ours)


async def test_an_older_push_of_another_project_learns_only_that_a_newer_one_has_moved_the_tag(
    database: Database, project_id: UUID
) -> None:
    older = await request(database, project_id)
    newer = await request(database, await new_project(database))
    assert await find_newer(database, older) == []
    await take(database, newer)
    await end(database, newer)
    assert await find_newer(database, older) == [TAG]
    assert not await take(database, older)
    assert await ask(database, older) is Grant.NEWER
    assert await find_newer(database, newer) == []


async def test_a_push_that_moved_nothing_outdates_nobody(database: Database, project_id: UUID) -> None:
    older = await request(database, project_id)
    newer = await request(database, await new_project(database))
    await take(database, newer)
    await end(database, newer, moved=False)
    assert await find_newer(database, older) == []
    assert await take(database, older)


async def test_a_move_that_is_recorded_late_does_not_hide_a_newer_one(
    database: Database, project_id: UUID
) -> None:
    older = await request(database, project_id)
    newer = await request(database, await new_project(database))
    await take(database, older)
    await age(database, held_until=LEASE)
    await take(database, newer)
    await end(database, older)
    # The newer one still has its lease, and then has moved the tag last.
    assert await renew(database, newer)
    await end(database, newer)
    await end(database, older)
    assert await find_newer(database, older) == [TAG]


async def test_a_worker_that_takes_no_leases_keeps_the_others_waiting_while_it_runs_a_push_of_the_tag(
    database: Database, project_id: UUID
) -> None:
    ours = await request(database, project_id)
    theirs = await request(database, await new_project(database))
    async with database.transaction(SYSTEM) as tx:
        # As the version before claims.
        old = update(operations).where(operations.c.id == theirs.operation_id).values(worker="host-1-abc")
        await tx.execute(old)
    assert not await take(database, ours)
    assert await ask(database, ours) is Grant.WAIT
    async with database.transaction(SYSTEM) as tx:
        await queue.succeed(tx, theirs.operation_id, theirs.attempt, {})
    assert await ask(database, ours) is Grant.TAKEN


async def test_nothing_of_a_tag_or_a_project_can_be_read_from_its_lease(
    database: Database, project_id: UUID
) -> None:
    ours = await request(database, project_id)
    await take(database, ours)
    await end(database, ours)
    async with database.transaction(SYSTEM) as tx:
        (row,) = await tx.execute(select(table))
    assert len(row.tag) == 32
    assert "release" not in str(row)


async def test_old_leases_are_forgotten(database: Database, project_id: UUID) -> None:
    push = await request(database, project_id)
    await take(database, push)
    await end(database, push)
    async with database.transaction(SYSTEM) as tx:
        assert await tag_leases.forget_old(tx) == 0
    await age(database, updated_at=tag_leases.KEPT_FOR)
    async with database.transaction(SYSTEM) as tx:
        assert await tag_leases.forget_old(tx) == 1


async def test_of_many_that_take_the_lease_at_once_one_has_it(database: Database) -> None:
    pushes = [await request(database, await new_project(database)) for _ in range(8)]
    assert sum(await asyncio.gather(*(take(database, push) for push in pushes))) == 1
    grants = await asyncio.gather(*(ask(database, push) for push in pushes))
    assert Counter(grants) == {Grant.TAKEN: 1, Grant.WAIT: 7}
