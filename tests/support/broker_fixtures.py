"""Brokers for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.broker import Broker


@pytest.fixture
async def broker(database_url: str) -> AsyncIterator[Broker]:
    """A broker with nothing in it, which may reach the registries of this machine."""
    async with Broker(database_url) as running:
        yield running


@pytest.fixture
async def start_broker(database_url: str) -> AsyncIterator[Callable[..., Any]]:
    """Starts brokers with settings of the test's own, all on one database."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Broker:
            return await stack.enter_async_context(Broker(database_url, **settings))

        yield start
