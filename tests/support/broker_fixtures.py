"""Brokers for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.broker import Broker, StartBroker, new_token
from tests.support.postgres import new_database


@pytest.fixture
async def broker(database_url: str) -> AsyncIterator[Broker]:
    """A broker with nothing in it, which may reach the registries of this machine."""
    async with Broker(database_url) as running:
        yield running


@pytest.fixture(scope="session")
async def shared_broker(postgres_server: str, template_database: str) -> AsyncIterator[Broker]:
    """One broker for all tests of refusals, which leave nothing behind and look at nothing that is there."""
    async with new_database(postgres_server, template=template_database) as url, Broker(url) as running:
        yield running


@pytest.fixture
async def start_broker(database_url: str) -> AsyncIterator[StartBroker]:
    """Starts brokers with settings of the test's own, all on one database and with one admin token."""
    token = new_token()
    async with AsyncExitStack() as stack:

        async def start(*, worker: bool = True, **settings: Any) -> Broker:
            return await stack.enter_async_context(
                Broker(database_url, worker=worker, token=token, **settings)
            )

        yield start
