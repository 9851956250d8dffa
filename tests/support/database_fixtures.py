"""A database with a project in it, and one connection that listens; a conftest imports them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from app.store.database import Database
from app.store.notifications import Notifications
from tests.support.operation_queue import listening, new_project


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.dispose()


@pytest.fixture
async def project_id(database: Database) -> UUID:
    return await new_project(database)


@pytest.fixture
async def notifications(database_url: str) -> AsyncIterator[Notifications]:
    async with listening(database_url) as notifications:
        yield notifications
