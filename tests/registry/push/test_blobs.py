"""The blobs of a push: skipped, mounted or copied, each once and the largest first."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from app import errors
from app.oci.reference import Repository
from app.registry.capabilities import MountSupport
from app.registry.client import RegistryClient
from app.registry.push.blobs import BlobPlan, plan_blob
from app.registry.push.model import (
    BlobCounts,
    CopyResult,
)
from tests.support.images import Image, make_image, plant
from tests.support.pushes import AMD64, ARM64, BOTH, LARGE, check_whole, plant_apart
from tests.support.registry import (
    Fault,
    Hold,
    LostReply,
    MountDeclined,
    OfMounts,
    OtherBody,
    RegistryDouble,
    Reset,
    Rules,
    Silence,
    Status,
    WithHeaders,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    AnyRegistry,
    Clock,
    child_at,
    connect,
    push_one,
    target_at,
    until,
)

BASE = b"a layer that several images share" * 100
IMAGES = [make_image(architecture=a, base=(BASE,), layers=1, seed="shared") for a in ("amd64", "arm64")]
SHARED = next(digest for digest, data in IMAGES[0].blobs.items() if data == BASE)
WIDE = replace(QUICK, transfers=8)


def uploaded(double: RegistryDouble) -> list[int]:
    """The sizes of blobs in the order of their uploads."""
    return [r.body_size for r in double.received("PUT", "/uploads/")]


def plant_without(double: RegistryDouble, repository: str, image: Image, missing: str) -> None:
    for digest, data in image.blobs.items():
        if digest != missing:
            double.add_blob(repository, data)
    double.add_manifest(repository, "1", image.raw, image.media_type)


ONE, OTHER = (make_image(architecture=a, seed="mounts") for a in ("amd64", "arm64"))


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
SHORT = replace(QUICK, call_seconds=2.0)


async def push_from(
    client: RegistryClient, double: RegistryDouble, source: str, image: Image, target: str = "app"
) -> CopyResult:
    children = [child_at(double, source, image)]
    return await push_one(client, target_at(double, target, [image]), children, INSECURE)


def asked(double: RegistryDouble) -> list[str]:
    """The repositories that mounts were requested from."""
    return [r.query["from"] for r in double.received("POST") if "mount" in r.query]


def all_copied(image: Image) -> BlobCounts:
    sizes = [len(data) for data in image.blobs.values()]
    return BlobCounts(copied=len(sizes), bytes_copied=sum(sizes))


async def test_the_largest_waiting_blob_starts_first(registry: RegistryDouble) -> None:
    image = make_image(layers=[3000, 50_000, 1000, 70_000, 20_000, 40_000], seed="sizes")
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/uploads/")
    async with RegistryDouble() as source, connect(replace(QUICK, transfers=1)) as client:
        plant(source, "src", "1", image)
        target, children = target_at(registry, "dst", [image]), [child_at(source, "src", image)]
        async with asyncio.TaskGroup() as group:
            group.create_task(push_one(client, target, children, INSECURE))
            await until(lambda: len(registry.received("HEAD", "/blobs/")) == len(image.blobs))
            hold.gate.set()
    sizes = uploaded(registry)[1:]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == len(image.blobs) - 1


async def test_blobs_are_copied_concurrently_up_to_the_limit(registry: RegistryDouble) -> None:
    image = make_image(layers=[5000] * 12, seed="many")
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/uploads/", times=None)
    async with RegistryDouble() as source, connect(replace(QUICK, transfers=4)) as client:
        plant(source, "src", "1", image)
        target, children = target_at(registry, "dst", [image]), [child_at(source, "src", image)]
        async with asyncio.TaskGroup() as group:
            group.create_task(push_one(client, target, children, INSECURE))
            await until(lambda: len(registry.received("PUT", "/uploads/")) == 4)
            assert len(source.received("GET", "/blobs/")) == 4
            hold.gate.set()
    assert registry.blobs("dst") == set(image.blobs)


async def test_a_blob_that_several_images_share_is_copied_once(registry: RegistryDouble) -> None:
    async with RegistryDouble() as source, connect(WIDE) as client:
        for number, image in enumerate(IMAGES):
            plant(source, f"src{number}", "1", image)
        children = [child_at(source, f"src{n}", image) for n, image in enumerate(IMAGES)]
        result = await push_one(client, target_at(registry, "dst", IMAGES), children, INSECURE)
        assert len(source.received("GET", SHARED)) == 1
    assert result.blobs.copied == len(IMAGES[0].blobs.keys() | IMAGES[1].blobs.keys())
    assert not registry.partial_tag_puts


async def test_a_blob_in_the_target_is_not_fetched(registry: RegistryDouble) -> None:
    registry.add_blob("dst", BASE)
    async with RegistryDouble() as source, connect(WIDE) as client:
        plant(source, "src", "1", IMAGES[0])
        target, children = target_at(registry, "dst", IMAGES[:1]), [child_at(source, "src", IMAGES[0])]
        result = await push_one(client, target, children, INSECURE)
        assert not source.received("GET", SHARED)
    assert (result.blobs.skipped, result.blobs.copied) == (1, 2)


async def test_foreign_layers_are_followed_nowhere(registry: RegistryDouble) -> None:
    image = make_image(os="windows", foreign_layers=2, seed="foreign")
    async with RegistryDouble() as source, connect(WIDE) as client:
        plant(source, "src", "1", image)
        target, children = target_at(registry, "dst", [image]), [child_at(source, "src", image)]
        result = await push_one(client, target, children, INSECURE)
        asked = {r.path.rsplit("/", 1)[1] for r in source.received("GET", "/blobs/")}
    assert asked == set(image.blobs) == registry.blobs("dst")
    assert result.blobs.copied == len(image.blobs)


async def test_a_blob_is_mounted_from_another_image_that_has_it(registry: RegistryDouble) -> None:
    """The image's own repository has lost the blob, or is on another registry."""
    plant_without(registry, "src0", IMAGES[0], SHARED)
    plant(registry, "src1", "1", IMAGES[1])
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(IMAGES)]
    async with connect(WIDE) as client:
        result = await push_one(client, target_at(registry, "dst", IMAGES), children, INSECURE)
    asked = [r.query["from"] for r in registry.received("POST") if r.query.get("mount") == SHARED]
    assert asked == ["src0", "src1"]
    assert result.blobs == BlobCounts(mounted=5)


async def test_an_image_of_another_registry_mounts_blobs_that_exist_here(registry: RegistryDouble) -> None:
    async with RegistryDouble() as source, connect(WIDE) as client:
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
    async with connect(WIDE) as client:
        result = await push_one(client, target_at(registry, "dst", IMAGES), children, INSECURE)
    assert {r.query["from"] for r in registry.received("POST")} == {"src1"}
    assert (result.blobs.skipped, result.blobs.mounted) == (1, 2)


async def test_uploads_that_declined_mounts_opened_are_used_or_given_back(registry: RegistryDouble) -> None:
    plant_without(registry, "src0", IMAGES[0], SHARED)
    plant(registry, "src1", "1", IMAGES[1])
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(IMAGES)]
    async with connect(WIDE) as client:
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
    async with connect(WIDE) as client:
        await push_one(client, target_at(registry, "dst", images), children, INSECURE)
    assert len([r for r in registry.received("POST") if r.query.get("mount") == SHARED]) <= 3
    assert registry.blobs("dst") == {digest for image in images for digest in image.blobs}


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_source_that_refuses_mounts_says_nothing_about_others(
    registry: RegistryDouble, status: int
) -> None:
    for number, image in enumerate(IMAGES):
        plant(registry, f"src{number}", "1", image)
    registry.misbehave(MountDeclined(status))
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(IMAGES)]
    async with connect(WIDE) as client:
        result = await push_one(client, target_at(registry, "dst", IMAGES), children, INSECURE)
    assert result.blobs.mounted + result.blobs.copied == 5
    assert result.blobs.mounted >= 2
    assert registry.blobs("dst") == {digest for image in IMAGES for digest in image.blobs}


async def test_a_blob_is_looked_up_after_a_failed_mount(registry: RegistryDouble) -> None:
    """A registry that does not mount may still have the blob."""
    plant(registry, "src", "1", IMAGES[0])
    registry.add_blob("dst", BASE)
    registry.misbehave(MountDeclined(405), times=None)
    async with connect(WIDE) as client:
        target, children = target_at(registry, "dst", IMAGES[:1]), [child_at(registry, "src", IMAGES[0])]
        result = await push_one(client, target, children, INSECURE)
    assert (result.blobs.skipped, result.blobs.copied) == (1, 2)


async def test_a_retried_blob_is_counted_once(registry: RegistryDouble) -> None:
    registry.misbehave(Status(503), method="PUT", path="/uploads/", times=2)
    async with RegistryDouble() as source, connect(WIDE) as client:
        plant(source, "src", "1", IMAGES[0])
        target, children = target_at(registry, "dst", IMAGES[:1]), [child_at(source, "src", IMAGES[0])]
        result = await push_one(client, target, children, INSECURE)
    sizes = [len(data) for data in IMAGES[0].blobs.values()]
    assert result.blobs == BlobCounts(copied=3, bytes_copied=sum(sizes))


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["500", "503, later", "silence", "reset", "202 without a location"])
async def test_a_blob_whose_mount_always_fails_is_copied(registry: RegistryDouble, trouble: str) -> None:
    plant(registry, "src", "1", ONE)
    registry.misbehave(OfMounts(TROUBLE[trouble]), times=None)
    async with connect(SHORT) as client:
        result = await push_from(client, registry, "src", ONE)
    assert result.blobs == all_copied(ONE)
    assert registry.blobs("app") == set(ONE.blobs)


@pytest.mark.parametrize("trouble", ["compressed", "oversize"])
async def test_a_mount_that_succeeded_with_an_unknown_answer_is_found(
    registry: RegistryDouble, trouble: str
) -> None:
    plant(registry, "src", "1", ONE)
    registry.misbehave(OfMounts(TROUBLE[trouble]), times=None)
    async with connect(SHORT) as client:
        result = await push_from(client, registry, "src", ONE)
    assert result.blobs == BlobCounts(skipped=3)


async def test_a_mount_whose_reply_is_lost_each_time_is_found(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", ONE)
    registry.misbehave(OfMounts(LostReply()), times=None)
    async with connect(SHORT) as client:
        result = await push_from(client, registry, "src", ONE)
    assert result.blobs == BlobCounts(skipped=3)


async def test_a_passing_failure_of_a_mount_is_retried_and_not_remembered(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", ONE)
    plant(registry, "src", "2", OTHER)
    registry.misbehave(OfMounts(Status(500)), times=QUICK.attempts - 1)
    async with connect(SHORT) as client:
        assert (await push_from(client, registry, "src", ONE)).blobs == BlobCounts(mounted=3)
        assert (await push_from(client, registry, "src", OTHER)).blobs == BlobCounts(mounted=3)


async def test_a_mount_sent_elsewhere_by_a_registry_is_uploaded_to_itself(registry: RegistryDouble) -> None:
    """The 202 of a mount is trusted as little as its 500; no credential goes there."""
    plant(registry, "src", "1", ONE)
    location = {"Location": "http://elsewhere.test/v2/app/blobs/uploads/1"}
    registry.misbehave(OfMounts(Status(202, headers=location)), times=None)
    async with connect(SHORT) as client:
        result = await push_from(client, registry, "src", ONE)
    assert result.blobs == all_copied(ONE)


async def test_a_failed_mount_is_remembered_for_the_two_repositories_alone(
    registry: RegistryDouble,
) -> None:
    for source in ("src", "other"):
        plant(registry, source, "1", ONE)
        plant(registry, source, "2", OTHER)
    rule = registry.misbehave(OfMounts(Status(500)), times=None)
    async with connect(SHORT) as client:
        await push_from(client, registry, "src", ONE)
        rule.stop()
        registry.forget()
        assert (await push_from(client, registry, "src", OTHER)).blobs.copied == 3
        assert not asked(registry)
        assert (await push_from(client, registry, "other", ONE, "app2")).blobs == BlobCounts(mounted=3)
        assert (await push_from(client, registry, "src", ONE, "app3")).blobs == BlobCounts(mounted=3)


async def test_a_pair_whose_mount_failed_is_skipped_where_the_registry_declines(
    registry: RegistryDouble,
) -> None:
    """Otherwise each of its blobs would wait for as many attempts again."""
    plant(registry, "src", "1", ONE)
    plant(registry, "src", "2", OTHER)
    plant(registry, "other", "1", ONE)
    async with connect(SHORT) as client:
        rule = registry.misbehave(OfMounts(Status(500)), times=None)
        await push_from(client, registry, "src", ONE)
        rule.stop()
        registry.misbehave(MountDeclined(), times=None)
        await push_from(client, registry, "other", ONE, "app2")
        registry.forget()
        await push_from(client, registry, "src", OTHER)
    assert not asked(registry)


@pytest.mark.slow
async def test_after_a_failed_mount_no_other_holder_is_asked(registry: RegistryDouble) -> None:
    """Another mount might take as long to fail; an upload starts sooner."""
    for number, image in enumerate(SHARING):
        plant(registry, f"src{number}", "1", image)
    registry.misbehave(OfMounts(Silence()), times=None)
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(SHARING)]
    shared = next(digest for digest, data in SHARING[0].blobs.items() if data == BASE)
    async with connect(SHORT) as client:
        await push_one(client, target_at(registry, "app", SHARING), children, INSECURE)
    mounts = [r.query["from"] for r in registry.received("POST") if r.query.get("mount") == shared]
    assert len(set(mounts)) == 1


@pytest.mark.slow
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
    async with connect(SHORT) as client:
        with pytest.raises(errors.RateLimited):
            await push_from(client, registry, "src", ONE)
        assert not registry.received("PUT", "/uploads/")
        rule.stop()
        assert (await push_from(client, registry, "src", ONE)).blobs.mounted > 0


async def test_a_mount_is_one_request_without_a_lookup(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    async with connect() as client:
        await push_one(
            client, target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)], INSECURE
        )
    blobs = [r for r in registry.journal if "/blobs/" in r.path]
    assert [(r.method, r.status) for r in blobs] == [("POST", 201)] * 3
    assert {r.query["from"] for r in blobs} == {"src"}
    assert {r.query["mount"] for r in blobs} == set(AMD64.blobs)


async def test_a_blob_that_images_share_is_mounted_once(registry: RegistryDouble) -> None:
    base = (b"shared layer" * 100,)
    images = [make_image(architecture=a, base=base, layers=1) for a in ("amd64", "arm64", "s390x")]
    for number, image in enumerate(images):
        plant(registry, f"src{number}", "1", image)
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(images)]
    async with connect() as client:
        result = await push_one(
            client, target_at(registry, "app", images), [*children, children[0]], INSECURE
        )
    mounted = [r.query["mount"] for r in registry.received("POST")]
    assert len(mounted) == len(set(mounted)) == 7
    assert result.blobs.mounted == 7
    assert len(result.manifests) == 3


async def test_foreign_layers_stay_where_they_are(any_registry: AnyRegistry) -> None:
    image = make_image(os="windows", foreign_layers=2, seed="foreign")
    children, path = await plant_apart(any_registry, [image])
    async with connect() as client:
        result = await push_one(client, target_at(any_registry, path, [image]), children, INSECURE)
    assert result.blobs.mounted == len(image.blobs)


@pytest.mark.parametrize("status", [202, 400, 401, 403, 404, 405, 501])
async def test_a_blob_that_is_not_mounted_is_copied(registry: RegistryDouble, status: int) -> None:
    plant(registry, "src", "1", LARGE)
    registry.misbehave(MountDeclined(status), times=None)
    target = target_at(registry, "app", [LARGE])
    async with connect() as client:
        result = await push_one(client, target, [child_at(registry, "src", LARGE)], INSECURE)
    sizes = [len(data) for data in LARGE.blobs.values()]
    assert result.blobs == BlobCounts(copied=len(sizes), bytes_copied=sum(sizes))
    await check_whole(registry, target, [LARGE])


async def test_a_declined_mount_is_uploaded_to_the_session_that_the_registry_opened(
    registry: RegistryDouble,
) -> None:
    plant(registry, "src", "1", AMD64)
    registry.misbehave(MountDeclined(), times=None)
    async with connect() as client:
        await push_one(
            client, target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)], INSECURE
        )
    assert len(registry.received("POST")) == 3
    assert len(registry.received("PUT", "/uploads/")) == 3
    assert all(r.headers["Content-Length"] == str(r.body_size) for r in registry.received("PUT", "/uploads/"))


@pytest.mark.parametrize(("status", "posts"), [(202, "mount"), (405, "plain")])
async def test_declined_mounts_are_remembered(registry: RegistryDouble, status: int, posts: str) -> None:
    plant(registry, "src", "1", AMD64)
    plant(registry, "src", "2", ARM64)
    registry.misbehave(MountDeclined(status), times=None)
    async with connect() as client:
        await push_one(
            client, target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)], INSECURE
        )
        registry.add_blob("app", ARM64.layers[0])
        registry.forget()
        target = target_at(registry, "app", [ARM64])
        result = await push_one(client, target, [child_at(registry, "src", ARM64)], INSECURE)
    assert (result.blobs.copied, result.blobs.skipped) == (2, 1)
    assert len(registry.received("HEAD", "/blobs/")) == 3
    assert {"mount" in r.query for r in registry.received("POST")} == {posts == "mount"}


async def test_declined_mounts_are_forgotten_after_a_while(registry: RegistryDouble) -> None:
    clock = Clock()
    images = [make_image(seed=number) for number in range(3)]
    declined = registry.misbehave(MountDeclined(405), times=None)
    mounted = []
    async with RegistryClient(LOOPBACK, limits=QUICK, now=clock) as client:
        for image, seconds in zip(images, (0.0, QUICK.remembered_seconds - 1, 2.0), strict=True):
            plant(registry, "src", image.digest, image)
            clock.pass_by(seconds)
            target, children = target_at(registry, "dst", [image]), [child_at(registry, "src", image)]
            mounted.append((await push_one(client, target, children, INSECURE)).blobs.mounted)
            declined.stop()
    assert mounted == [0, 0, len(images[2].blobs)]


async def test_a_granted_mount_makes_mounts_the_first_choice_again(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    plant(registry, "src", "2", ARM64)
    registry.misbehave(MountDeclined(), times=1)
    async with connect() as client:
        for image in BOTH:
            target = target_at(registry, "app", [image])
            result = await push_one(client, target, [child_at(registry, "src", image)], INSECURE)
    assert result.blobs == BlobCounts(mounted=3)


FIRST, SECOND, THIRD, FOURTH = (Repository("reg.test", name) for name in ("a", "b", "c", "d"))


def plan(support: dict[Repository, MountSupport]) -> BlobPlan:
    return plan_blob(list(support), lambda holder: support[holder])


def test_a_blob_without_a_holder_is_looked_up() -> None:
    assert plan({}) == BlobPlan(looks_first=True, holders=())


def test_a_mount_is_tried_before_a_lookup_and_from_three_holders_at_most() -> None:
    granted = dict.fromkeys((FIRST, SECOND, THIRD, FOURTH), MountSupport.GRANTED)

    assert plan(granted) == BlobPlan(looks_first=False, holders=(FIRST, SECOND, THIRD))


def test_a_holder_whose_mounts_are_refused_is_not_asked() -> None:
    assert plan({FIRST: MountSupport.REFUSED, SECOND: MountSupport.GRANTED}).holders == (SECOND,)
    assert plan({FIRST: MountSupport.REFUSED}) == BlobPlan(looks_first=True, holders=())


def test_where_mounts_are_declined_a_lookup_comes_first_and_one_holder_is_asked() -> None:
    declined = dict.fromkeys((FIRST, SECOND), MountSupport.DECLINED)

    assert plan(declined) == BlobPlan(looks_first=True, holders=(FIRST,))
