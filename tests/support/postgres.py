"""A Postgres for the tests of one process, and a fresh database in it for each of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import NullPool, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from app.store.embedded import EmbeddedPostgres

# Nothing in these databases outlives the run, so nothing has to reach a disk.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "max_wal_size": "4GB",
}


@contextmanager
def passable_directory(prefix: str = "broker-test-") -> Iterator[Path]:
    """A temporary directory that other accounts may pass through; pytest's own is closed to them."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def running_postgres() -> Iterator[str]:
    """The address of a server: TEST_DATABASE_URL (of a superuser), or one started for this process."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield make_url(given).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
        return
    binaries = os.environ.get("BROKER_PG_BIN")
    with passable_directory() as directory:
        server = EmbeddedPostgres(
            directory / "postgres", settings=FAST, binaries=Path(binaries) if binaries else None
        )
        with server:
            yield server.url


def database_of(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection]:
    """A connection outside any transaction, for what a test asks or does behind the broker's back."""
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


async def execute(url: str, statement: str) -> None:
    async with connected(url) as connection:
        await connection.execute(text(statement))


async def ask(url: str, question: str) -> object:
    """The one value that a query gives."""
    async with connected(url) as connection:
        return (await connection.execute(text(question))).scalar_one()


@asynccontextmanager
async def new_database(server: str, *, template: str = "template0") -> AsyncIterator[str]:
    """A database that is gone afterwards, whoever still holds a connection to it."""
    url = await create_database(server, template)
    try:
        yield url
    finally:
        await drop_database(server, url)


async def create_database(server: str, template: str) -> str:
    name = f"test_{uuid4().hex}"
    await execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    return database_of(server, name)


async def drop_database(server: str, url: str) -> None:
    await execute(server, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")
