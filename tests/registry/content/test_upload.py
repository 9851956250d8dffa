"""Upload sessions: where they may be, and that none is left open."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from app import errors
from tests.support.blob_transfers import SMALL_IMAGE, UPLOAD, copy_small
from tests.support.fault_table.faults import TooLarge
from tests.support.images import plant
from tests.support.pushes import AMD64
from tests.support.registry import (
    Drip,
    Fault,
    RegistryDouble,
    Silence,
    Status,
    UploadLocation,
)
from tests.support.registry_clients import (
    INSECURE,
    QUICK,
    child_at,
    connect,
    push_one,
    target_at,
    until,
)


@pytest.mark.parametrize("query", ["", "x=%2Fa%2bb&y=~%7E", "sig=a%3D%3D"])
async def test_the_query_of_an_upload_is_kept_byte_for_byte(registry: RegistryDouble, query: str) -> None:
    registry.misbehave(UploadLocation(query=query), times=None)
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", AMD64)
        await push_one(
            client, target_at(registry, "dst", [AMD64]), [child_at(source, "src", AMD64)], INSECURE
        )
    puts = registry.received("PUT", "/uploads/")
    assert len(puts) == len(AMD64.blobs)
    for put in puts:
        state, _, rest = put.target.partition("?")[2].partition("&")
        assert state.startswith("_state=")
        assert rest.startswith(f"{query}&digest=sha256%3A" if query else "digest=sha256%3A")


async def test_an_upload_to_another_host_is_refused(registry: RegistryDouble) -> None:
    async with RegistryDouble() as source, RegistryDouble() as evil, connect() as client:
        plant(source, "src", "1", AMD64)
        for base in (evil.base_url, f"//{evil.host}", "http://user@127.0.0.1"):
            registry.misbehave(UploadLocation(base=base), times=None)
            with pytest.raises(errors.UntrustedOrigin):
                await push_one(
                    client, target_at(registry, "dst", [AMD64]), [child_at(source, "src", AMD64)], INSECURE
                )
            registry.behave()
        assert not evil.journal


async def test_a_cancelled_copy_leaves_no_upload_open(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    source.misbehave(Drip(0.01), method="GET", path="/blobs/", times=None)
    copying = asyncio.create_task(copy_small(source, registry))
    # The client knows where its uploads are once it sends their bodies.
    await until(lambda: len(registry.received("PUT", "/uploads/")) == len(SMALL_IMAGE.blobs))
    assert len(registry.content.at("dst").uploads) == len(SMALL_IMAGE.blobs)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    await until(lambda: not registry.content.at("dst").uploads)


@pytest.mark.parametrize(
    ("fault", "methods"),
    [
        # Only a body that is too large is tried again in chunks.
        (TooLarge(0, 413), ("PUT", "PATCH")),
        (Status(403), ("PUT",)),
    ],
)
async def test_a_copy_that_fails_leaves_no_upload_open(
    source: RegistryDouble, registry: RegistryDouble, fault: Fault, methods: tuple[str, ...]
) -> None:
    for method in methods:
        registry.misbehave(fault, method=method, path=UPLOAD, times=None)
    with pytest.raises(errors.BrokerError):
        await copy_small(source, registry)
    await until(lambda: not registry.content.at("dst").uploads)


async def test_cancelling_an_upload_at_a_silent_registry_takes_no_longer_than_its_limit(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    silence = registry.misbehave(Silence(), method="DELETE", times=None)
    registry.misbehave(Status(403), method="PUT", path=UPLOAD, times=None)
    with pytest.raises(errors.RegistryDenied):
        await copy_small(source, registry, limits=replace(QUICK, cancel_seconds=0.1))
    assert silence.hits
