"""Configs: fetched whole and verified."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app import errors
from tests.support.images import make_image, plant, seed
from tests.support.registry import (
    Fault,
    FlippedByte,
    OtherBody,
    Oversize,
    RegistryDouble,
    Truncated,
)
from tests.support.registry_clients import (
    INSECURE,
    QUICK,
    AnyRegistry,
    config_of,
    connect,
    repository_at,
)

IMAGE = make_image()


async def test_a_config_is_verified(any_registry: AnyRegistry) -> None:
    await seed(any_registry, "fetching/config", "1", IMAGE)
    async with connect() as client:
        repository = repository_at(any_registry, "fetching/config")
        assert await client.fetch_config(repository, config_of(IMAGE), INSECURE) == IMAGE.config


@pytest.mark.parametrize(
    "fault", [FlippedByte(), Truncated(), OtherBody(b"x"), Oversize(len(IMAGE.config) + 1)]
)
async def test_a_config_with_other_bytes_is_refused(registry: RegistryDouble, fault: Fault) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(fault, path="/blobs/", times=None)
    async with connect() as client:
        with pytest.raises((errors.DigestMismatch, errors.RegistryUnreachable)):
            await client.fetch_config(repository_at(registry, "app"), config_of(IMAGE), INSECURE)


async def test_a_config_with_a_huge_size_is_not_requested(registry: RegistryDouble) -> None:
    huge = replace(config_of(IMAGE), size=QUICK.config_bytes + 1)
    async with connect() as client:
        with pytest.raises(errors.SourceTooLarge):
            await client.fetch_config(repository_at(registry, "app"), huge, INSECURE)
    assert not registry.journal
