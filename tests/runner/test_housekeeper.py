"""What has had its time is removed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import text

from app.runner.housekeeper import Chore, Housekeeper
from app.store import idempotency, operation_changes, operations
from app.store.database import Database, Transaction
from tests.support.operation_queue import HOUR, PATIENCE_SECONDS, enqueued

SOON = timedelta(milliseconds=10)


async def keep_house(
    database: Database, chore: Chore, done: asyncio.Event, interval: timedelta = SOON
) -> None:
    task = asyncio.create_task(Housekeeper(database, [chore], interval=interval).run())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await done.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_only_old_idempotency_keys_are_removed(database: Database, project_id: UUID) -> None:
    async with database.transaction() as tx:
        for key, age in (("old", timedelta(days=8)), ("young", timedelta(days=6))):
            await idempotency.remember(tx, project_id, key, b"print", uuid4())
            await tx.execute(
                text(
                    "UPDATE idempotency_keys SET created_at = now() - CAST(:age AS interval) WHERE key = :key"
                ),
                {"age": age, "key": key},
            )
    done = asyncio.Event()

    async def chore(tx: Transaction) -> None:
        done.set()

    await keep_house(database, chore, done)
    async with database.transaction() as tx:
        assert (await tx.execute(text("SELECT key FROM idempotency_keys"))).scalars().all() == ["young"]


async def test_old_operations_are_removed_with_their_events_in_batches(
    database: Database, project_id: UUID
) -> None:
    old = [await ended_ago(database, project_id, timedelta(days=31 + n)) for n in range(3)]
    young = await ended_ago(database, project_id, timedelta(days=29))
    running = await enqueued(database, project_id)
    month = timedelta(days=30)
    async with database.transaction() as tx:
        assert await operations.forget_ended(tx, older_than=month, limit=2) == 2
        assert await left(tx) == {old[0], young, running.id}
        assert await operations.forget_ended(tx, older_than=month) == 1
        assert await operations.forget_ended(tx, older_than=month) == 0
        assert await left(tx) == {young, running.id}


async def ended_ago(database: Database, project_id: UUID, age: timedelta) -> UUID:
    operation = await enqueued(database, project_id)
    async with database.transaction() as tx:
        await operation_changes.request_cancel(tx, project_id, operation.id)
        await tx.execute(
            text("UPDATE operations SET ended_at = now() - CAST(:age AS interval) WHERE id = :id"),
            {"age": age, "id": operation.id},
        )
    return operation.id


async def left(tx: Transaction) -> set[UUID]:
    """The operations that are there; only they have events."""
    there = set((await tx.execute(text("SELECT id FROM operations"))).scalars())
    assert there == set((await tx.execute(text("SELECT operation_id FROM operation_events"))).scalars())
    return there


async def test_a_failed_chore_is_rolled_back_and_repeated(database: Database, project_id: UUID) -> None:
    rounds = 0
    done = asyncio.Event()

    async def chore(tx: Transaction) -> None:
        nonlocal rounds
        rounds += 1
        await tx.execute(text("UPDATE projects SET name = :name"), {"name": f"round {rounds}"})
        if rounds < 3:
            await tx.execute(text("SELECT 1 / 0"))
        done.set()

    await keep_house(database, chore, done)
    async with database.transaction() as tx:
        name = (await tx.execute(text("SELECT name FROM projects"))).scalar_one()
    assert name == f"round {rounds}"


async def test_a_chore_with_more_to_remove_continues_at_once(database: Database) -> None:
    """Each time in a transaction of its own, and not an interval later."""
    left, done = 3, asyncio.Event()

    async def chore(_: Transaction) -> bool:
        nonlocal left
        left -= 1
        if not left:
            done.set()
        return left > 0

    await keep_house(database, chore, done, HOUR)
    assert left == 0
