"""Fixtures that the tests of the registry client share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.breaking_proxy import BreakingProxy, breaking_proxy
from tests.support.docker_registry import BINARY, DockerRegistry
from tests.support.registry import RegistryDouble


@pytest.fixture
async def source() -> AsyncIterator[RegistryDouble]:
    """A second registry, from which images are copied."""
    async with RegistryDouble() as double:
        yield double


@pytest.fixture
async def line(installed_registry: DockerRegistry | None) -> AsyncIterator[BreakingProxy]:
    if installed_registry is None:
        pytest.skip(f"{BINARY} is not installed")
    async with breaking_proxy(installed_registry.port) as line:
        yield line
