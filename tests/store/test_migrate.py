"""Migrations: they give what the code expects, once, whoever starts them."""

from __future__ import annotations

import asyncio

from alembic import command
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, text

from app.store.database import Database, create_engine
from app.store.migrate import configuration, is_current, upgrade
from app.store.tables import metadata


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
