"""The blobs of one push: largest first, once for each target, mounted from whoever holds them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from app.registry.client import RegistryClient
from app.registry.push.model import BlobCounts
from tests.support.images import Image, make_image, plant
from tests.support.registry import Hold, MountDeclined, RegistryDouble, Rules, Status
from tests.support.registry_clients import INSECURE, LOOPBACK, QUICK, child_at, push_one, target_at, until

BASE = b"a layer that several images share" * 100
IMAGES = [make_image(architecture=a, base=(BASE,), layers=1, seed="shared") for a in ("amd64", "arm64")]
SHARED = next(digest for digest, data in IMAGES[0].blobs.items() if data == BASE)


def connect(transfers: int = 8) -> RegistryClient:
    return RegistryClient(LOOPBACK, limits=replace(QUICK, transfers=transfers))


def uploaded(double: RegistryDouble) -> list[int]:
    """Sizes of blobs in the order in which their bodies came."""
    return [r.body_size for r in double.received("PUT", "/uploads/")]


async def test_of_blobs_that_wait_the_largest_is_begun_first(registry: RegistryDouble) -> None:
    image = make_image(layers=[3000, 50_000, 1000, 70_000, 20_000, 40_000], seed="sizes")
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/uploads/")
    async with RegistryDouble() as source, connect(transfers=1) as client:
        plant(source, "src", "1", image)
        target, children = target_at(registry, "dst", [image]), [child_at(source, "src", image)]
        async with asyncio.TaskGroup() as group:
            group.create_task(push_one(client, target, children, INSECURE))
            await until(lambda: len(registry.received("HEAD", "/blobs/")) == len(image.blobs))
            hold.gate.set()
    sizes = uploaded(registry)[1:]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == len(image.blobs) - 1


async def test_blobs_are_copied_side_by_side_and_no_more_than_allowed(registry: RegistryDouble) -> None:
    image = make_image(layers=[5000] * 12, seed="many")
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/uploads/", times=None)
    async with RegistryDouble() as source, connect(transfers=4) as client:
        plant(source, "src", "1", image)
        target, children = target_at(registry, "dst", [image]), [child_at(source, "src", image)]
        async with asyncio.TaskGroup() as group:
            group.create_task(push_one(client, target, children, INSECURE))
            await until(lambda: len(registry.received("PUT", "/uploads/")) == 4)
            assert len(source.received("GET", "/blobs/")) == 4
            hold.gate.set()
    assert registry.blobs("dst") == set(image.blobs)


async def test_a_blob_of_several_images_crosses_once(registry: RegistryDouble) -> None:
    async with RegistryDouble() as source, connect() as client:
        for number, image in enumerate(IMAGES):
            plant(source, f"src{number}", "1", image)
        children = [child_at(source, f"src{n}", image) for n, image in enumerate(IMAGES)]
        result = await push_one(client, target_at(registry, "dst", IMAGES), children, INSECURE)
        assert len(source.received("GET", SHARED)) == 1
    assert result.blobs.copied == len(IMAGES[0].blobs.keys() | IMAGES[1].blobs.keys())
    assert not registry.partial_tag_puts


async def test_what_the_target_has_is_not_fetched(registry: RegistryDouble) -> None:
    registry.add_blob("dst", BASE)
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", IMAGES[0])
        target, children = target_at(registry, "dst", IMAGES[:1]), [child_at(source, "src", IMAGES[0])]
        result = await push_one(client, target, children, INSECURE)
        assert not source.received("GET", SHARED)
    assert (result.blobs.skipped, result.blobs.copied) == (1, 2)


async def test_foreign_layers_are_followed_nowhere(registry: RegistryDouble) -> None:
    image = make_image(os="windows", foreign_layers=2, seed="foreign")
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", image)
        target, children = target_at(registry, "dst", [image]), [child_at(source, "src", image)]
        result = await push_one(client, target, children, INSECURE)
        asked = {r.path.rsplit("/", 1)[1] for r in source.received("GET", "/blobs/")}
    assert asked == set(image.blobs) == registry.blobs("dst")
    assert result.blobs.copied == len(image.blobs)


# --- mounts ---


async def test_a_blob_is_mounted_from_another_image_that_has_it(registry: RegistryDouble) -> None:
    """The image's own repository lost it, or never was on this registry."""
    plant_without(registry, "src0", IMAGES[0], SHARED)
    plant(registry, "src1", "1", IMAGES[1])
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(IMAGES)]
    async with connect() as client:
        result = await push_one(client, target_at(registry, "dst", IMAGES), children, INSECURE)
    asked = [r.query["from"] for r in registry.received("POST") if r.query.get("mount") == SHARED]
    assert asked == ["src0", "src1"]
    assert result.blobs == BlobCounts(mounted=5)


async def test_an_image_from_elsewhere_shares_what_another_has_here(registry: RegistryDouble) -> None:
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src0", "1", IMAGES[0])
        plant(registry, "src1", "1", IMAGES[1])
        children = [child_at(source, "src0", IMAGES[0]), child_at(registry, "src1", IMAGES[1])]
        result = await push_one(client, target_at(registry, "dst", IMAGES), children, INSECURE)
        assert not source.received("GET", SHARED)
    assert (result.blobs.mounted, result.blobs.copied) == (3, 2)


async def test_nothing_is_mounted_from_the_target_itself(registry: RegistryDouble) -> None:
    plant(registry, "dst", "other", IMAGES[0])
    plant_without(registry, "src1", IMAGES[1], SHARED)
    children = [child_at(registry, "dst", IMAGES[0]), child_at(registry, "src1", IMAGES[1])]
    async with connect() as client:
        result = await push_one(client, target_at(registry, "dst", IMAGES), children, INSECURE)
    assert {r.query["from"] for r in registry.received("POST")} == {"src1"}
    assert (result.blobs.skipped, result.blobs.mounted) == (1, 2)


async def test_uploads_that_declined_mounts_opened_are_used_or_given_back(registry: RegistryDouble) -> None:
    plant_without(registry, "src0", IMAGES[0], SHARED)
    plant(registry, "src1", "1", IMAGES[1])
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(IMAGES)]
    async with connect() as client:
        await push_one(client, target_at(registry, "dst", IMAGES), children, INSECURE)
    assert len(registry.received("DELETE", "/uploads/")) == 1
    held = registry.content.find("dst")
    assert held is not None
    assert not held.uploads


async def test_a_registry_that_never_mounts_is_asked_for_few(registry: RegistryDouble) -> None:
    registry.rules = Rules(anonymous_mount=False)
    registry.misbehave(MountDeclined(), times=None)
    images = [make_image(architecture="amd64", base=(BASE,), layers=1, seed=n) for n in range(6)]
    for number, image in enumerate(images):
        plant(registry, f"src{number}", "1", image)
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(images)]
    async with connect() as client:
        await push_one(client, target_at(registry, "dst", images), children, INSECURE)
    assert len([r for r in registry.received("POST") if r.query.get("mount") == SHARED]) <= 3
    assert registry.blobs("dst") == {digest for image in images for digest in image.blobs}


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_source_that_may_not_be_mounted_from_says_nothing_of_others(
    registry: RegistryDouble, status: int
) -> None:
    for number, image in enumerate(IMAGES):
        plant(registry, f"src{number}", "1", image)
    registry.misbehave(MountDeclined(status))
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(IMAGES)]
    async with connect() as client:
        result = await push_one(client, target_at(registry, "dst", IMAGES), children, INSECURE)
    assert result.blobs.mounted + result.blobs.copied == 5
    assert result.blobs.mounted >= 2
    assert registry.blobs("dst") == {digest for image in IMAGES for digest in image.blobs}


async def test_a_mount_that_fails_is_looked_after_before_it_is_copied(registry: RegistryDouble) -> None:
    """A registry without mounts may have the blob all the same."""
    plant(registry, "src", "1", IMAGES[0])
    registry.add_blob("dst", BASE)
    registry.misbehave(MountDeclined(405), times=None)
    async with connect() as client:
        target, children = target_at(registry, "dst", IMAGES[:1]), [child_at(registry, "src", IMAGES[0])]
        result = await push_one(client, target, children, INSECURE)
    assert (result.blobs.skipped, result.blobs.copied) == (1, 2)


async def test_what_fails_for_a_while_is_counted_once(registry: RegistryDouble) -> None:
    registry.misbehave(Status(503), method="PUT", path="/uploads/", times=2)
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", IMAGES[0])
        target, children = target_at(registry, "dst", IMAGES[:1]), [child_at(source, "src", IMAGES[0])]
        result = await push_one(client, target, children, INSECURE)
    sizes = [len(data) for data in IMAGES[0].blobs.values()]
    assert result.blobs == BlobCounts(copied=3, bytes_copied=sum(sizes))


def plant_without(double: RegistryDouble, repository: str, image: Image, missing: str) -> None:
    for digest, data in image.blobs.items():
        if digest != missing:
            double.add_blob(repository, data)
    double.add_manifest(repository, "1", image.raw, image.media_type)
