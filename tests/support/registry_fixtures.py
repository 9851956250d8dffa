"""Fixtures for registries: the double, the real one, and either."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.docker_registry import BINARY, DockerRegistry, find_docker_registry
from tests.support.registry import RegistryDouble

AnyRegistry = RegistryDouble | DockerRegistry


@pytest.fixture
async def registry() -> AsyncIterator[RegistryDouble]:
    """A fresh double without authentication."""
    async with RegistryDouble() as double:
        yield double


@pytest.fixture(scope="session")
async def installed_registry() -> AsyncIterator[DockerRegistry | None]:
    """One real registry for all tests of a process, None where it is not installed."""
    binary = find_docker_registry()
    if binary is None:
        yield None
        return
    async with DockerRegistry(binary) as running:
        yield running


@pytest.fixture(scope="session")
def real_registry(installed_registry: DockerRegistry | None) -> DockerRegistry:
    """The process's real registry; tests keep apart by repository names of their own."""
    if installed_registry is None:
        pytest.skip(f"{BINARY} is not installed")
    return installed_registry


@pytest.fixture(params=["double", "real"])
async def any_registry(
    request: pytest.FixtureRequest, installed_registry: DockerRegistry | None
) -> AsyncIterator[AnyRegistry]:
    """The double and the real registry in turn."""
    if request.param == "double":
        async with RegistryDouble() as double:
            yield double
    elif installed_registry is None:
        pytest.skip(f"{BINARY} is not installed")
    else:
        yield installed_registry
