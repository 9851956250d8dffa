"""Migrates a database to the newest schema, and checks its version."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import BigInteger, Connection, bindparam, func, make_url, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

import app
from app.store.database import Transaction, create_engine, is_refused_login
from app.store.row_security.roles import RIGHT_IS_MISSING, SERVICE, ensure_roles, roles_of, set_password

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


async def upgrade(url: str, *, service_url: str | None = None, service: str = SERVICE) -> None:
    """Apply the missing migrations and create the roles. Concurrent processes take turns.

    `url` is the URL of the migrating role, and `service_url` that of the service, if it has its own.
    `service` is the role that the service acts as.
    """
    login = service_url or url
    roles, password = roles_of(login, service), make_url(login).password
    engine = create_engine(url, patient=True)
    async with engine.connect() as connection:
        # A statement that waited for the lock would block CREATE INDEX CONCURRENTLY for ever: that waits
        # for all running statements. The lock ends with the connection.
        while not await _lock(connection):  # noqa: ASYNC110 - no event of this process tells when
            await asyncio.sleep(LOCK_POLL_SECONDS)
        await connection.run_sync(_upgrade)
        await ensure_roles(connection, roles, password)
        if not roles.is_switched and password and not await _can_log_in(login):
            await set_password(connection, roles.service, password)


async def _can_log_in(url: str) -> bool:
    try:
        async with create_engine(url).connect():
            return True
    except DBAPIError as failure:
        if is_refused_login(failure):
            return False
        raise


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
    try:
        return await tx.run_sync(_is_current)
    except DBAPIError as failure:
        # The service's role gets its privileges with the first migration of this version.
        if getattr(failure.orig, "sqlstate", None) == RIGHT_IS_MISSING:
            return False
        raise


def _is_current(connection: Connection) -> bool:
    newest = set(ScriptDirectory.from_config(configuration()).get_heads())
    return set(MigrationContext.configure(connection).get_current_heads()) == newest
