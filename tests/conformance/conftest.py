"""A raw client and a repository of its own for each test, on the double and on the real registry."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from tests.conformance.peer import Peer
from tests.support.plain_http import plain_client
from tests.support.registry import RegistryDouble
from tests.support.registry_fixtures import AnyRegistry


@pytest.fixture
async def peer(any_registry: AnyRegistry) -> AsyncIterator[Peer]:
    async with plain_client(base_url=any_registry.base_url, timeout=60) as client:
        is_double = isinstance(any_registry, RegistryDouble)
        yield Peer(client, f"conformance/{secrets.token_hex(8)}", is_double=is_double)


@pytest.fixture
async def wire(registry: RegistryDouble) -> AsyncIterator[Peer]:
    """The double alone, for what only it can do."""
    async with plain_client(base_url=registry.base_url, timeout=60) as client:
        yield Peer(client, "conformance/double", is_double=True)
