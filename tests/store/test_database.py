"""Transactions: what they keep, what they let go, and what happens when the database is away."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, make_url, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.errors import Unavailable
from app.store.database import Database
from app.store.tables import projects
from tests.support.operation_queue import new_project, until
from tests.support.postgres import ask, execute
from tests.support.restartable_postgres import restartable_postgres
from tests.support.stalling_proxy import stalling_proxy


async def count(database: Database) -> int:
    async with database.transaction() as tx:
        return len((await tx.execute(select(projects.c.id))).all())


async def add(database: Database, *, fail: bool = False) -> None:
    async with database.transaction() as tx:
        await tx.execute(insert(projects).values(id=uuid4(), name=str(uuid4())))
        if fail:
            raise ZeroDivisionError


async def test_a_transaction_commits_at_its_end_and_keeps_nothing_when_it_raises(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        await add(database, fail=True)
    assert await count(database) == 0
    await add(database)
    assert await count(database) == 1


async def test_a_programming_error_is_not_reported_as_an_outage(database: Database, project_id: UUID) -> None:
    async def insert_again() -> None:
        async with database.transaction() as tx:
            await tx.execute(insert(projects).values(id=project_id, name="again"))

    async def misspell() -> None:
        async with database.transaction() as tx:
            await tx.execute(text("SELEKT 1"))

    with pytest.raises(IntegrityError):
        await insert_again()
    with pytest.raises(DBAPIError):
        await misspell()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg"])
async def test_a_url_is_accepted_in_every_common_syntax(database_url: str, scheme: str) -> None:
    url = make_url(database_url).update_query_dict({"sslmode": "disable", "application_name": "mine"})
    spelled = url.render_as_string(hide_password=False).replace("postgresql+asyncpg", scheme, 1)
    database = Database(spelled)
    async with database.transaction() as tx:
        assert (await tx.execute(text("SHOW application_name"))).scalar_one() == "mine"
    await database.dispose()


async def test_an_exhausted_pool_asks_callers_to_retry_later(database_url: str) -> None:
    database = Database(database_url, pool_size=1, pool_wait=0.05)
    async with database.transaction():
        with pytest.raises(Unavailable) as refused:
            await count(database)
    assert refused.value.retry_after
    assert await count(database) == 0
    await database.dispose()


async def test_a_statement_has_a_timeout(database: Database) -> None:
    async def sleep() -> None:
        async with database.transaction() as tx:
            await tx.execute(text("SET LOCAL statement_timeout = '20ms'"))
            await tx.execute(text("SELECT pg_sleep(60)"))

    with pytest.raises(Unavailable):
        await sleep()


async def test_connections_of_an_unresponsive_server_are_not_used_again(
    database_url: str,
) -> None:
    async with stalling_proxy(database_url) as line:
        database = Database(line.url, pool_size=2, command_seconds=0.3)
        assert await count(database) == 0
        line.stall()
        with pytest.raises(Unavailable):
            await count(database)
        line.resume()
        assert await count(database) == 0
        await database.dispose()


async def test_a_timeout_of_the_caller_is_not_reported_as_an_outage(database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), database.transaction() as tx:
            await tx.execute(text("SELECT pg_sleep(60)"))


async def test_a_migration_of_the_next_version_costs_one_retry(
    database_url: str,
) -> None:
    database = Database(database_url, pool_size=1)

    async def select_all() -> int:
        async with database.transaction() as tx:
            return len((await tx.execute(text("SELECT * FROM projects"))).all())

    assert await select_all() == 0
    await execute(database_url, "ALTER TABLE projects ADD COLUMN later text")
    with pytest.raises(Unavailable):
        await select_all()
    assert await select_all() == 0
    await database.dispose()


async def test_a_deadlock_asks_for_a_retry(database: Database) -> None:
    first, second = await new_project(database), await new_project(database)
    met = asyncio.Barrier(2)

    async def rename(one: UUID, other: UUID) -> bool:
        statement = text("UPDATE projects SET name = name || '!' WHERE id = :id")
        try:
            async with database.transaction() as tx:
                await tx.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
                await tx.execute(statement, {"id": one})
                await met.wait()
                await tx.execute(statement, {"id": other})
        except Unavailable:
            return False
        return True

    assert sorted(await asyncio.gather(rename(first, second), rename(second, first))) == [False, True]


async def test_connections_that_the_server_closed_cause_no_errors(
    database: Database, database_url: str
) -> None:
    await asyncio.gather(*(count(database) for _ in range(5)))
    terminate = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {} AND pid <> pg_backend_pid()"
    )
    await ask(database_url, terminate.format("datname = current_database()"))
    await asyncio.sleep(0.05)
    assert await asyncio.gather(*(count(database) for _ in range(5))) == [0] * 5


async def test_cancelled_callers_leave_no_connection_and_no_transaction_open(
    database_url: str,
) -> None:
    database = Database(database_url, pool_size=3)
    dice = random.Random(1)

    async def call() -> None:
        async with database.transaction() as tx:
            await tx.execute(insert(projects).values(id=uuid4(), name=str(uuid4())))
            await tx.execute(text("SELECT pg_sleep(0.002)"))

    async def drop() -> None:
        task = asyncio.create_task(call())
        await asyncio.sleep(dice.random() * 0.015)
        task.cancel()
        with suppress(asyncio.CancelledError, Unavailable):
            await task

    for _ in range(60):
        await asyncio.gather(*(drop() for _ in range(4)))
    # All three connections can be had at once, and none is still inside a transaction.
    async with database.transaction(), database.transaction(), database.transaction():
        pass
    idle = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state LIKE 'idle in transaction%'"
    )

    async def none_is_open() -> bool:
        return await ask(database_url, idle) == 0

    await until(none_is_open)
    assert await none_is_open()
    await database.dispose()


@pytest.mark.slow
async def test_an_unreachable_database_is_unavailable_at_once_and_used_again_when_it_returns() -> None:
    async with restartable_postgres() as server:
        database = Database(server.url)
        await add(database)
        for _ in range(2):
            await server.crash()
            for _ in range(3):
                with pytest.raises(Unavailable) as away:
                    await count(database)
                assert away.value.retry_after is not None
                assert 0 < away.value.retry_after <= 2
            await server.start()
            assert await count(database) == 1
        await database.dispose()


@pytest.mark.slow
async def test_a_server_that_stops_within_a_transaction_is_unavailable() -> None:
    async with restartable_postgres() as server:
        database = Database(server.url)

        async def interrupted() -> None:
            async with database.transaction() as tx:
                await tx.execute(insert(projects).values(id=uuid4(), name="lost"))
                await server.crash()
                await tx.execute(select(projects))

        async def interrupted_at_commit() -> None:
            async with database.transaction() as tx:
                await tx.execute(insert(projects).values(id=uuid4(), name="lost"))
                await server.crash()

        for use in (interrupted, interrupted_at_commit):
            with pytest.raises(Unavailable):
                await use()
            await server.start()
            assert await count(database) == 0
        await database.dispose()


async def test_an_unknown_host_is_unavailable() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Unavailable):
        await count(database)
    await database.dispose()
