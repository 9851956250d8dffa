"""Workers and servers die at any moment: nothing accepted is lost, and each operation ends exactly once."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.errors import Unavailable
from app.operations.states import Kind
from app.services.operations.attempts import Attempt, Handler
from app.store import operation_changes
from app.store.database import Database
from tests.support.chaos_worker import LEASE, TABLES
from tests.support.operation_queue import listening, new_project, running, until, wanted
from tests.support.restartable_postgres import restartable_postgres
from tests.support.workers import Workers

pytestmark = pytest.mark.slow

# Larger for a night.
OPERATIONS = int(os.environ.get("CHAOS_OPERATIONS", "80"))
PATIENCE_SECONDS = 60 + OPERATIONS

ENDS = text("SELECT operation_id FROM operation_events WHERE kind IN ('succeeded', 'failed', 'cancelled')")


def chaos_workers(url: str, dice: random.Random) -> Workers:
    return Workers(lambda: ["tests.support.chaos_worker", url, str(dice.randrange(10**6))], dice)


async def prepare(database: Database) -> UUID:
    async with database.transaction() as tx:
        for table in TABLES:
            await tx.execute(text(table))
    return await new_project(database)


async def accept(database: Database, project_id: UUID, dice: random.Random, count: int) -> set[UUID]:
    """Enqueues at irregular moments; only what was committed counts as accepted."""
    accepted = set()
    for number in range(count):
        id_, keys = uuid4(), (f"tag {number % 7}", f"list {dice.randrange(30)}")
        with suppress(Unavailable):
            async with database.transaction() as tx:
                await operation_changes.enqueue(tx, wanted(project_id, id=id_, keys=keys))
            accepted.add(id_)
        await asyncio.sleep(dice.random() * 0.04)
    return accepted


async def left(database: Database) -> int:
    statement = text("SELECT count(*) FROM operations WHERE state IN ('queued', 'running')")
    async with database.transaction() as tx:
        return int((await tx.execute(statement)).scalar_one())


async def none_left(database: Database) -> bool:
    return await left(database) == 0


async def some_run(database: Database) -> bool:
    async with database.transaction() as tx:
        return bool(await tx.scalar(text("SELECT count(*) FROM operations WHERE state = 'running'")))


async def check(database: Database, accepted: set[UUID]) -> None:
    async with database.transaction() as tx:
        found = {
            row.id: row for row in await tx.execute(text("SELECT id, state, attempt, result FROM operations"))
        }
        effects = (await tx.execute(text("SELECT operation_id, attempt FROM effects"))).all()
        ended = (await tx.execute(ENDS)).scalars().all()
    assert accepted <= found.keys()
    assert {row.state for row in found.values()} == {"succeeded"}
    assert sorted(ended) == sorted(found)
    assert sorted(row.operation_id for row in effects) == sorted(found)
    for operation_id, attempt in effects:
        assert found[operation_id].attempt == attempt
        assert found[operation_id].result == {"attempt": attempt}


async def count_of(database: Database, table: str) -> int:
    async with database.transaction() as tx:
        return int((await tx.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def test_workers_killed_at_random_lose_nothing_and_never_share_a_key(
    database: Database, database_url: str, seed: int
) -> None:
    dice = random.Random(seed)
    project_id = await prepare(database)
    async with chaos_workers(database_url, dice) as workers, asyncio.timeout(PATIENCE_SECONDS):
        accepting = asyncio.create_task(accept(database, project_id, random.Random(seed), OPERATIONS))
        while not accepting.done() or await left(database):
            await asyncio.sleep(0.5 + dice.random())
            if await left(database):
                await workers.kill_one()
        accepted = await accepting
    await check(database, accepted)
    assert len(accepted) == OPERATIONS
    assert workers.deaths
    assert await count_of(database, "shared_keys") == 0


async def test_the_writes_of_a_stalled_worker_have_no_effect_after_its_lease(
    database: Database, database_url: str, seed: int
) -> None:
    dice = random.Random(seed)
    project_id = await prepare(database)
    async with chaos_workers(database_url, dice) as workers, asyncio.timeout(PATIENCE_SECONDS):
        accepting = asyncio.create_task(accept(database, project_id, random.Random(seed), OPERATIONS // 2))
        await until(lambda: some_run(database))
        while not accepting.done() or await left(database):
            await workers.stall_one(LEASE.total_seconds() * (1 + dice.random() / 2))
        accepted = await accepting
    await check(database, accepted)


async def test_no_accepted_operation_is_lost_when_the_server_crashes_repeatedly(
    seed: int,
) -> None:
    dice = random.Random(seed)
    async with restartable_postgres() as server, asyncio.timeout(PATIENCE_SECONDS):
        database = Database(server.url)
        project_id = await prepare(database)

        async def perform(attempt: Attempt) -> None:
            await asyncio.sleep(dice.random() * 0.1)
            async with database.transaction() as tx:
                await tx.execute(
                    text("INSERT INTO effects VALUES (:id, :attempt)"),
                    {"id": attempt.operation.id, "attempt": attempt.operation.attempt},
                )
                await attempt.succeed(tx, {"attempt": attempt.operation.attempt})

        handlers = {Kind.PUSH_LIST: Handler(perform)}
        async with (
            listening(server.url) as notifications,
            running(database, notifications, handlers),
            running(database, notifications, handlers),
        ):
            accepting = asyncio.create_task(accept(database, project_id, dice, OPERATIONS // 2))
            for _ in range(3):
                await asyncio.sleep(0.2 + dice.random() * 0.3)
                await server.crash()
                await asyncio.sleep(dice.random() * 0.2)
                await server.start()
            accepted = await accepting
            await until(lambda: none_left(database))
        await check(database, accepted)
        await database.dispose()
