"""Databases with the schema of an earlier version."""

from __future__ import annotations

from alembic import command
from sqlalchemy import Connection

from app.store.database import create_engine
from app.store.migrate import configuration


async def migrate_to(url: str, revision: str) -> None:
    def run(connection: Connection) -> None:
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async with create_engine(url).connect() as connection:
        await connection.run_sync(run)
