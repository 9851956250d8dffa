"""Mounts that come to nothing: what is known of them afterwards, and by which way the blobs go on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app import errors
from app.registry.client import RegistryClient
from app.registry.push.model import BlobCounts, CopyResult
from tests.support.images import Image, make_image, plant
from tests.support.registry import (
    Fault,
    LostReply,
    MountDeclined,
    OfMounts,
    OtherBody,
    RegistryDouble,
    Reset,
    Silence,
    Status,
    WithHeaders,
)
from tests.support.registry_clients import INSECURE, LOOPBACK, QUICK, child_at, push_one, target_at

ONE, OTHER = (make_image(architecture=a, seed="mounts") for a in ("amd64", "arm64"))
BASE = b"a layer that several images share" * 100
SHARING = [make_image(architecture=a, base=(BASE,), layers=0, seed="mounts") for a in ("amd64", "arm64")]
TROUBLE: dict[str, Fault] = {
    "500": Status(500),
    "503, later": Status(503, headers={"Retry-After": "0"}),
    "silence": Silence(),
    "reset": Reset(),
    "202 without a location": Status(202),
    "compressed": WithHeaders({"Content-Encoding": "gzip"}),
    "oversize": OtherBody(b" " * 100_000),
}


def connect() -> RegistryClient:
    return RegistryClient(LOOPBACK, limits=replace(QUICK, call_seconds=2.0))


async def push_from(
    client: RegistryClient, double: RegistryDouble, source: str, image: Image, target: str = "app"
) -> CopyResult:
    children = [child_at(double, source, image)]
    return await push_one(client, target_at(double, target, [image]), children, INSECURE)


def asked(double: RegistryDouble) -> list[str]:
    """The repositories that mounts were asked from."""
    return [r.query["from"] for r in double.received("POST") if "mount" in r.query]


def all_copied(image: Image) -> BlobCounts:
    sizes = [len(data) for data in image.blobs.values()]
    return BlobCounts(copied=len(sizes), bytes_copied=sum(sizes))


@pytest.mark.parametrize("trouble", ["500", "503, later", "silence", "reset", "202 without a location"])
async def test_a_blob_whose_mount_has_trouble_for_ever_is_copied(
    registry: RegistryDouble, trouble: str
) -> None:
    plant(registry, "src", "1", ONE)
    registry.misbehave(OfMounts(TROUBLE[trouble]), times=None)
    async with connect() as client:
        result = await push_from(client, registry, "src", ONE)
    assert result.blobs == all_copied(ONE)
    assert registry.blobs("app") == set(ONE.blobs)


@pytest.mark.parametrize("trouble", ["compressed", "oversize"])
async def test_a_mount_that_is_done_but_not_said_so_in_words_we_read_is_found(
    registry: RegistryDouble, trouble: str
) -> None:
    plant(registry, "src", "1", ONE)
    registry.misbehave(OfMounts(TROUBLE[trouble]), times=None)
    async with connect() as client:
        result = await push_from(client, registry, "src", ONE)
    assert result.blobs == BlobCounts(skipped=3)


async def test_a_mount_whose_reply_is_lost_each_time_is_found(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", ONE)
    registry.misbehave(OfMounts(LostReply()), times=None)
    async with connect() as client:
        result = await push_from(client, registry, "src", ONE)
    assert result.blobs == BlobCounts(skipped=3)


async def test_trouble_that_passes_is_waited_out_and_not_remembered(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", ONE)
    plant(registry, "src", "2", OTHER)
    registry.misbehave(OfMounts(Status(500)), times=QUICK.attempts - 1)
    async with connect() as client:
        assert (await push_from(client, registry, "src", ONE)).blobs == BlobCounts(mounted=3)
        assert (await push_from(client, registry, "src", OTHER)).blobs == BlobCounts(mounted=3)


async def test_a_mount_sent_elsewhere_by_a_registry_is_uploaded_to_itself(registry: RegistryDouble) -> None:
    """What the 202 of a mount says is as little to be believed as its 500; nothing goes there."""
    plant(registry, "src", "1", ONE)
    location = {"Location": "http://elsewhere.test/v2/app/blobs/uploads/1"}
    registry.misbehave(OfMounts(Status(202, headers=location)), times=None)
    async with connect() as client:
        result = await push_from(client, registry, "src", ONE)
    assert result.blobs == all_copied(ONE)


async def test_trouble_is_remembered_of_the_two_repositories_and_of_no_others(
    registry: RegistryDouble,
) -> None:
    for source in ("src", "other"):
        plant(registry, source, "1", ONE)
        plant(registry, source, "2", OTHER)
    rule = registry.misbehave(OfMounts(Status(500)), times=None)
    async with connect() as client:
        await push_from(client, registry, "src", ONE)
        rule.stop()
        registry.forget()
        assert (await push_from(client, registry, "src", OTHER)).blobs.copied == 3
        assert not asked(registry)
        assert (await push_from(client, registry, "other", ONE, "app2")).blobs == BlobCounts(mounted=3)
        assert (await push_from(client, registry, "src", ONE, "app3")).blobs == BlobCounts(mounted=3)


async def test_a_pair_that_has_trouble_is_left_alone_where_the_registry_declines_too(
    registry: RegistryDouble,
) -> None:
    """Else each of its blobs would wait for as many attempts again."""
    plant(registry, "src", "1", ONE)
    plant(registry, "src", "2", OTHER)
    plant(registry, "other", "1", ONE)
    async with connect() as client:
        rule = registry.misbehave(OfMounts(Status(500)), times=None)
        await push_from(client, registry, "src", ONE)
        rule.stop()
        registry.misbehave(MountDeclined(), times=None)
        await push_from(client, registry, "other", ONE, "app2")
        registry.forget()
        await push_from(client, registry, "src", OTHER)
    assert not asked(registry)


async def test_after_trouble_no_other_holder_is_asked(registry: RegistryDouble) -> None:
    """It might take as long again: the blob is on its way sooner."""
    for number, image in enumerate(SHARING):
        plant(registry, f"src{number}", "1", image)
    registry.misbehave(OfMounts(Silence()), times=None)
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(SHARING)]
    shared = next(digest for digest, data in SHARING[0].blobs.items() if data == BASE)
    async with connect() as client:
        await push_one(client, target_at(registry, "app", SHARING), children, INSECURE)
    mounts = [r.query["from"] for r in registry.received("POST") if r.query.get("mount") == shared]
    assert len(set(mounts)) == 1


@pytest.mark.parametrize(
    "limit",
    [
        Status.oci(429, "TOOMANYREQUESTS"),
        Status(403, b"You have exceeded a secondary rate limit. Please wait."),
    ],
    ids=["429", "403"],
)
async def test_a_rate_limit_is_a_pause_for_mounts_too(registry: RegistryDouble, limit: Status) -> None:
    plant(registry, "src", "1", ONE)
    rule = registry.misbehave(OfMounts(limit), times=None)
    async with connect() as client:
        with pytest.raises(errors.RateLimited):
            await push_from(client, registry, "src", ONE)
        assert not registry.received("PUT", "/uploads/")
        rule.stop()
        assert (await push_from(client, registry, "src", ONE)).blobs.mounted > 0
