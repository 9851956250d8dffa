"""Migrations: they give what the code expects, once, whoever starts them."""

from __future__ import annotations

import asyncio

import pytest
from alembic import command
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, text

from app.store.database import Database, create_engine
from app.store.migrate import configuration, is_current, upgrade
from app.store.tables import metadata
from tests.support.migrations import migrate_to


def differences(connection: Connection) -> str | None:
    config = configuration()
    config.attributes["connection"] = connection
    try:
        command.check(config)
    except CommandError as failure:
        return str(failure)
    return None


async def test_the_migrations_create_the_tables_of_the_code(database_url: str) -> None:
    async with create_engine(database_url).begin() as connection:
        assert await connection.run_sync(differences) is None


async def test_processes_that_start_together_migrate_once(empty_database_url: str) -> None:
    await asyncio.gather(*(upgrade(empty_database_url) for _ in range(4)))
    found = MetaData()
    async with create_engine(empty_database_url).begin() as connection:
        await connection.run_sync(found.reflect)
    assert set(found.tables) == set(metadata.tables) | {"alembic_version"}


async def test_migrating_again_changes_nothing(database: Database, database_url: str) -> None:
    async with database.transaction() as tx:
        await tx.execute(text("INSERT INTO projects (id, name) VALUES (gen_random_uuid(), 'kept')"))
    await upgrade(database_url)
    async with database.transaction() as tx:
        assert (await tx.execute(text("SELECT name FROM projects"))).scalars().all() == ["kept"]


async def test_a_database_is_current_once_it_is_migrated(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    async with database.transaction() as tx:
        assert not await is_current(tx)
    await upgrade(empty_database_url)
    async with database.transaction() as tx:
        assert await is_current(tx)
    await database.dispose()


ENTRY = """
    INSERT INTO entries
        (id, list_id, project_id, reference, digest, media_type, size, resolved_platform, added_by)
    SELECT gen_random_uuid(), id, project_id, 'r.test/a:1', 'sha256:a', 'a/b', 1, '{}', 'ci' FROM lists
"""
LIST = """
    WITH made AS (INSERT INTO projects (id, name) VALUES (gen_random_uuid(), 'kept') RETURNING id)
    INSERT INTO lists (id, project_id, reference, registry, repository, created_by)
    SELECT gen_random_uuid(), id, 'r.test/app:1', 'r.test', 'app', 'ci' FROM made
"""


async def test_the_version_before_writes_entries_beside_those_that_share_a_reference(
    empty_database_url: str,
) -> None:
    await migrate_to(empty_database_url, "0010")
    database = Database(empty_database_url)
    async with database.transaction() as tx:
        await tx.execute(text(LIST))
        await tx.execute(text(ENTRY))
    await upgrade(empty_database_url)
    async with database.transaction() as tx:
        await tx.execute(text(ENTRY))
        found = await tx.execute(text('SELECT given, "order" FROM entries JOIN lists ON lists.id = list_id'))
        assert found.all() == [(None, "docker"), (None, "docker")]
    await database.dispose()


@pytest.mark.slow
async def test_a_migration_that_was_interrupted_builds_its_index_again(empty_database_url: str) -> None:
    await migrate_to(empty_database_url, "0013")
    async with create_engine(empty_database_url).begin() as connection:
        await connection.execute(text("CREATE INDEX ix_entries_list ON entries (list_id)"))
    await upgrade(empty_database_url)
    async with create_engine(empty_database_url).begin() as connection:
        assert await connection.run_sync(differences) is None


async def test_a_migration_can_be_taken_back(empty_database_url: str) -> None:
    await upgrade(empty_database_url)
    database = Database(empty_database_url)
    async with database.transaction() as tx:
        await tx.execute(text(LIST))
        for _ in range(3):
            await tx.execute(text(ENTRY))

    def back(connection: Connection) -> None:
        config = configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "0010")

    async with create_engine(empty_database_url).connect() as connection:
        await connection.run_sync(back)
    async with database.transaction() as tx:
        assert (await tx.execute(text("SELECT count(*) FROM entries"))).scalar_one() == 1
    await database.dispose()
