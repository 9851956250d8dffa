"""Each test has a database of its own, or one that is as good as new."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from app.store.database import Database
from tests.support.operation_queue import new_project
from tests.support.postgres import ask, connected, execute
from tests.support.reused_databases import LARGEST_BYTES, ReusedDatabases


@pytest.fixture
async def databases(postgres_server: str, template_database: str) -> AsyncIterator[ReusedDatabases]:
    databases = ReusedDatabases(postgres_server, template_database)
    yield databases
    await databases.close()


@pytest.mark.parametrize("round_", [1, 2])
async def test_tests_do_not_see_the_changes_of_each_other(database_url: str, round_: int) -> None:
    tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'mine'"
    assert await ask(database_url, tables) == 0
    await execute(database_url, "CREATE TABLE mine (id int)")
    assert await ask(database_url, tables) == 1


async def test_a_reused_database_has_no_rows_and_fresh_sequences(databases: ReusedDatabases) -> None:
    async with databases.borrow() as first:
        migrated = await ask(first, "SELECT version_num FROM alembic_version")
        database = Database(first)
        project = await new_project(database)
        await database.dispose()
        await execute(first, f"INSERT INTO manifests VALUES ('{project}', 'sha256:0', 'text/plain', 'raw')")
        await execute(first, "SELECT nextval('operation_events_id_seq') FROM generate_series(1, 9)")
        await execute(first, "UPDATE alembic_version SET version_num = 'another'")
    async with databases.borrow() as second:
        assert second == first
        assert await ask(second, "SELECT count(*) FROM projects") == 0
        assert await ask(second, "SELECT count(*) FROM manifests") == 0
        assert await ask(second, "SELECT nextval('operation_events_id_seq')") == 1
        assert await ask(second, "SELECT version_num FROM alembic_version") == migrated


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE projects ADD COLUMN later text",
        "DROP INDEX CONCURRENTLY ix_lists_labels",
        "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        f"INSERT INTO projects (id, name) SELECT gen_random_uuid(), n || repeat('x', 1000) "
        f"FROM generate_series(1, {LARGEST_BYTES // 1000}) AS n",
    ],
)
async def test_a_database_with_another_schema_or_many_rows_is_not_reused(
    databases: ReusedDatabases, change: str
) -> None:
    async with databases.borrow() as first:
        await execute(first, change)
    async with databases.borrow() as second:
        assert second != first


async def test_a_reused_database_has_no_sessions_of_its_last_borrower(databases: ReusedDatabases) -> None:
    async with databases.borrow() as first, connected(first) as forgotten:
        await forgotten.execute(text("SELECT pg_advisory_lock(1)"))
        async with databases.borrow() as other:
            assert other != first
    async with databases.borrow() as again, databases.borrow() as both:
        assert {again, both} == {first, other}
        assert await ask(first, "SELECT pg_try_advisory_lock(1)")


async def test_a_database_speaks_utf8_and_utc(database_url: str) -> None:
    assert await ask(database_url, "SHOW server_encoding") == "UTF8"
    assert await ask(database_url, "SHOW timezone") == "UTC"
