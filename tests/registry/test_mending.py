"""Manifests that a registry refuses because it lacks what they list, or says that it does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app import errors
from app.registry.client import RegistryClient
from app.registry.push.model import BlobCounts
from tests.support.images import make_image, plant
from tests.support.registry import RegistryDouble, Status
from tests.support.registry_clients import INSECURE, LOOPBACK, QUICK, child_at, push_one, target_at

AMD64 = make_image(architecture="amd64", seed="mending")
ARM64 = make_image(architecture="arm64", seed="mending")
BOTH = [AMD64, ARM64]
LACKS_BLOBS = Status.oci(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")


def connect() -> RegistryClient:
    return RegistryClient(LOOPBACK, limits=replace(QUICK, settle_attempts=4))


def puts(double: RegistryDouble, digest: str) -> int:
    return len(double.received("PUT", f"/manifests/{digest}"))


async def test_no_blob_is_sent_again_before_it_was_waited_for(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    registry.misbehave(LACKS_BLOBS, method="PUT", path="/manifests/", times=1)
    target, children = target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)]
    async with connect() as client:
        result = await push_one(client, target, children, INSECURE)
    assert result.blobs == BlobCounts(mounted=3)


async def test_what_a_registry_has_taken_whole_is_waited_for_and_never_sent_again(
    registry: RegistryDouble,
) -> None:
    registry.misbehave(LACKS_BLOBS, method="PUT", path="/manifests/", times=3)
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", AMD64)
        target, children = target_at(registry, "app", [AMD64]), [child_at(source, "src", AMD64)]
        result = await push_one(client, target, children, INSECURE)
        assert [len(source.received("GET", digest)) for digest in AMD64.blobs] == [1, 1, 1]
    assert result.blobs.copied == 3


async def test_a_registry_that_never_knows_what_it_took_is_given_up(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    registry.misbehave(LACKS_BLOBS, method="PUT", path="/manifests/", times=None)
    target, children = target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)]
    async with connect() as client:
        with pytest.raises(errors.RegistryRejected):
            await push_one(client, target, children, INSECURE)
    assert puts(registry, AMD64.digest) == 4
    assert not registry.tags("app")


async def test_what_a_registry_refuses_for_another_reason_is_put_once(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    registry.misbehave(Status.oci(400, "MANIFEST_INVALID"), method="PUT", path="/manifests/", times=None)
    target, children = target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)]
    async with connect() as client:
        with pytest.raises(errors.RegistryRejected):
            await push_one(client, target, children, INSECURE)
    assert puts(registry, AMD64.digest) == 1


@pytest.mark.parametrize("named", [True, False])
async def test_children_that_an_index_is_refused_for_are_put_anew(
    registry: RegistryDouble, named: bool
) -> None:
    """Those that the registry names, or all if it names none."""
    plant(registry, "src", "1", AMD64)
    plant(registry, "src", "2", ARM64)
    said = f"manifest {ARM64.digest} is not here" if named else "a manifest is not here"
    registry.misbehave(Status.oci(400, "MANIFEST_UNKNOWN", said), method="PUT", path="/manifests/1$")
    target = target_at(registry, "app", BOTH)
    children = [child_at(registry, "src", image) for image in BOTH]
    async with connect() as client:
        await push_one(client, target, children, INSECURE)
    assert [puts(registry, image.digest) for image in BOTH] == ([1, 2] if named else [2, 2])
    assert registry.tags("app")["1"] == str(target.index.digest)
