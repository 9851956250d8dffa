"""What every test may ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from app.store.migrate import upgrade
from tests.support.postgres import new_database, running_postgres
from tests.support.reused_databases import ReusedDatabases, prepare_template

pytest_plugins = [
    "tests.support.broker_fixtures",
    "tests.support.fault_table.report",
    "tests.support.registry_fixtures",
    "tests.support.random_seed",
]

# Every test below these is slow; other modules and tests carry the mark themselves.
SLOW_DIRECTORIES = frozenset({"cli", "conformance", "docs", "e2e", "fanin", "hostile", "soak"})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in SLOW_DIRECTORIES:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The server that this process's databases are made on."""
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
async def template_database(postgres_server: str) -> AsyncIterator[str]:
    """The name of a database with the newest schema, migrated once."""
    async with new_database(postgres_server) as url:
        await upgrade(url)
        await prepare_template(url)
        yield str(make_url(url).database)


@pytest.fixture(scope="session")
async def reused_databases(postgres_server: str, template_database: str) -> AsyncIterator[ReusedDatabases]:
    databases = ReusedDatabases(postgres_server, template_database)
    yield databases
    await databases.close()


@pytest.fixture
async def database_url(reused_databases: ReusedDatabases) -> AsyncIterator[str]:
    """A database of the test's own, with the newest schema and nothing in it."""
    async with reused_databases.borrow() as url:
        yield url


@pytest.fixture
async def empty_database_url(postgres_server: str) -> AsyncIterator[str]:
    """A database of the test's own without any schema."""
    async with new_database(postgres_server) as url:
        yield url
