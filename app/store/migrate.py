"""Migrates a database to the newest schema, and checks its version."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import BigInteger, Connection, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

import app
from app.store.database import Transaction, create_engine

# The number of an advisory lock; no other lock of this database has it.
MIGRATION_LOCK = 0x6D62_0002
LOCK_POLL_SECONDS = 0.2

MIGRATIONS = Path(app.__file__).resolve().parents[1] / "migrations"


def configuration() -> Config:
    """Alembic's configuration without its file, which an installed package does not have."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


async def upgrade(url: str) -> None:
    """Apply the missing migrations, each in a transaction; concurrent processes do so one after another."""
    engine = create_engine(url, patient=True)
    async with engine.connect() as connection:
        # A statement that waited for the lock would block CREATE INDEX CONCURRENTLY for ever: that waits
        # for all running statements. The lock ends with the connection.
        while not await _lock(connection):  # noqa: ASYNC110 - no event of this process tells when
            await asyncio.sleep(LOCK_POLL_SECONDS)
        await connection.run_sync(_upgrade)


async def _lock(connection: AsyncConnection) -> bool:
    key = bindparam(None, MIGRATION_LOCK, BigInteger)
    is_locked: bool = (await connection.execute(select(func.pg_try_advisory_lock(key)))).scalar_one()
    await connection.commit()
    return is_locked


def _upgrade(connection: Connection) -> None:
    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def is_current(tx: Transaction) -> bool:
    """Whether the database has the schema that this code was written for."""
    return await tx.run_sync(_is_current)


def _is_current(connection: Connection) -> bool:
    newest = set(ScriptDirectory.from_config(configuration()).get_heads())
    return set(MigrationContext.configure(connection).get_current_heads()) == newest
