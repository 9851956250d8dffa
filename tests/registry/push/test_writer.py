"""What a push writes and reads back, and the dry run that predicts it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from app import errors
from app.oci.digest import parse_digest
from app.oci.reference import Repository
from app.registry.client import RegistryClient
from app.registry.push.model import (
    BlobAction,
    BlobCounts,
    BlobOutcome,
    CopyChild,
    CopyTarget,
    ManifestAction,
    ManifestOutcome,
)
from app.registry.push.push import dry_run, push
from tests.support.images import Image, make_image, plant
from tests.support.pushes import AMD64, ARM64, check_whole
from tests.support.registry import (
    LostReply,
    MountDeclined,
    OtherBody,
    RegistryDouble,
    Rules,
    Silence,
    Status,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    child_at,
    connect,
    push_one,
    repository_at,
    target_at,
)

BASE = b"a layer that all images share" * 50
IMAGES = [
    make_image(architecture=name, base=(BASE,), layers=2, seed="survey")
    for name in ("amd64", "arm64", "s390x", "ppc64le")
]
IMAGE = IMAGES[0]


def expected(image: Image, action: BlobAction, source: Repository | None = None) -> dict[str, BlobOutcome]:
    return {
        digest: BlobOutcome(parse_digest(digest), len(data), action, source)
        for digest, data in image.blobs.items()
    }


async def learn_not_to_mount(client: RegistryClient, double: RegistryDouble) -> None:
    """In all repositories that `lay_out` pushes to."""
    other = make_image(seed="unmounted")
    plant(double, "unmounted", "1", other)
    double.misbehave(MountDeclined(405), times=None)
    for number in range(3):
        target = target_at(double, f"dst{number}", [other], tags=("unmounted",))
        await push_one(client, target, [child_at(double, "unmounted", other)], INSECURE)


def lay_out(
    dice: random.Random, doubles: Sequence[RegistryDouble]
) -> tuple[list[CopyTarget], list[CopyChild]]:
    places = [(dice.choice(doubles), f"dst{n}") for n in range(dice.randint(1, 3))]
    images = dice.sample(IMAGES, dice.randint(1, len(IMAGES)))
    children = []
    for number, image in enumerate(images):
        double, path = dice.choice([*places, *((double, f"src{number}") for double in doubles)])
        plant(double, path, f"s{number}", image)
        children.append(child_at(double, path, image))
    for double, path in places:
        if dice.random() < 0.3:
            plant(double, path, "1", dice.choice(images))
        for data in dice.choice(images).blobs.values():
            if dice.random() < 0.3:
                double.add_blob(path, data)
    tags = [("1",), ("1", "2")][dice.randrange(2)]
    return [target_at(double, path, images, tags=tags) for double, path in places], children


async def test_a_dry_run_predicts_a_mount_within_the_registry(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", IMAGE)
    async with connect() as client:
        (found,) = await dry_run(
            client, [target_at(registry, "app", [IMAGE])], [child_at(registry, "src", IMAGE)], INSECURE
        )
    assert found.manifests == (ManifestOutcome(parse_digest(IMAGE.digest), ManifestAction.PUT),)
    source = repository_at(registry, "src")
    assert {str(blob.digest): blob for blob in found.blobs} == expected(IMAGE, BlobAction.MOUNTED, source)
    assert found.counts == BlobCounts(mounted=4)
    assert found.previous == {"1": None}
    assert {r.method for r in registry.journal} <= {"HEAD", "GET"}
    assert not registry.received(path="/blobs/")


async def test_a_dry_run_predicts_a_copy_from_another_registry(registry: RegistryDouble) -> None:
    registry.add_blob("app", BASE)
    plant(registry, "app", "1", IMAGES[1])
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", IMAGE)
        (found,) = await dry_run(
            client, [target_at(registry, "app", [IMAGE])], [child_at(source, "src", IMAGE)], INSECURE
        )
        copied = expected(IMAGE, BlobAction.COPIED, repository_at(source, "src"))
        assert not source.journal
    shared = next(digest for digest, data in IMAGE.blobs.items() if data == BASE)
    copied[shared] = BlobOutcome(parse_digest(shared), len(BASE), BlobAction.SKIPPED)
    assert {str(blob.digest): blob for blob in found.blobs} == copied
    sizes = sum(len(data) for digest, data in IMAGE.blobs.items() if digest != shared)
    assert found.counts == BlobCounts(copied=3, skipped=1, bytes_copied=sizes)
    assert found.previous == {"1": parse_digest(IMAGES[1].digest)}
    assert {r.method for r in registry.journal} <= {"HEAD", "GET"}


async def test_a_dry_run_does_nothing_for_a_present_child(registry: RegistryDouble) -> None:
    plant(registry, "app", "amd64", IMAGE)
    async with connect() as client:
        (found,) = await dry_run(
            client, [target_at(registry, "app", [IMAGE])], [child_at(registry, "app", IMAGE)], INSECURE
        )
    assert [each.action for each in found.manifests] == [ManifestAction.PRESENT]
    assert found.blobs == ()


async def test_a_dry_run_reports_a_missing_blob_like_a_push(registry: RegistryDouble) -> None:
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "app", IMAGE)]
        with pytest.raises(errors.SourceNotFound):
            await dry_run(client, [target], children, INSECURE)
        with pytest.raises(errors.SourceNotFound):
            await push_one(client, target, children, INSECURE)


async def test_a_denied_target_fails_the_dry_run(registry: RegistryDouble) -> None:
    async with RegistryDouble() as busy, connect() as client:
        plant(registry, "src", "1", IMAGE)
        busy.misbehave(Status(503), times=None)
        targets = [target_at(each, "app", [IMAGE]) for each in (registry, busy)]
        with pytest.raises(errors.RegistryUnavailable):
            await dry_run(client, targets, [child_at(registry, "src", IMAGE)], INSECURE)


@pytest.mark.parametrize("seed", range(24))
async def test_a_push_does_what_the_dry_run_predicted(registry: RegistryDouble, seed: int) -> None:
    """Images here, elsewhere and in the targets; registries with and without mounts."""
    dice = random.Random(seed)
    async with RegistryDouble() as other, connect() as client:
        doubles = [registry, other]
        for double in doubles:
            if dice.random() < 0.3:
                await learn_not_to_mount(client, double)
            double.forget()
        targets, children = lay_out(dice, doubles)
        foretold = await dry_run(client, targets, children, INSECURE)
        again = await dry_run(client, targets, children, INSECURE)
        puts = [r for double in doubles for r in double.journal if r.method not in {"GET", "HEAD"}]
        assert not puts
        done = await push(client, targets, children, INSECURE)
    assert foretold == again
    assert [each.manifests for each in foretold] == [each.manifests for each in done]
    assert [each.counts for each in foretold] == [each.blobs for each in done]
    assert [each.previous for each in foretold] == [each.previous for each in done]


@pytest.mark.parametrize("times", [1, QUICK.attempts])
async def test_a_lost_answer_to_a_tag_that_moved_is_no_failure(registry: RegistryDouble, times: int) -> None:
    plant(registry, "src", "1", AMD64)
    rule = registry.misbehave(LostReply(), method="PUT", path="/manifests/1$", times=times)
    target = target_at(registry, "app", [AMD64])
    async with connect() as client:
        await push_one(client, target, [child_at(registry, "src", AMD64)], INSECURE)
    assert rule.hits == times
    await check_whole(registry, target, [AMD64])


@pytest.mark.parametrize(("method", "path"), [("PUT", "/manifests/sha256:"), ("POST", "/blobs/uploads/")])
async def test_any_other_lost_answer_is_asked_for_again(
    registry: RegistryDouble, method: str, path: str
) -> None:
    plant(registry, "src", "1", AMD64)
    rule = registry.misbehave(LostReply(), method=method, path=path)
    target = target_at(registry, "app", [AMD64])
    async with connect() as client:
        await push_one(client, target, [child_at(registry, "src", AMD64)], INSECURE)
    assert rule.hits == 1
    await check_whole(registry, target, [AMD64])


async def test_a_timeout_is_no_failure_if_the_tag_moved(registry: RegistryDouble) -> None:
    plant(registry, "app", "amd64", AMD64)
    registry.misbehave(Silence(takes_effect=True), method="PUT", path="/manifests/1$", times=None)
    target = target_at(registry, "app", [AMD64])
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, call_seconds=0.5)) as client:
        await push_one(client, target, [child_at(registry, "app", AMD64)], INSECURE)
    await check_whole(registry, target, [AMD64])


async def test_a_success_without_a_stored_index_is_detected(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", ARM64)
    registry.misbehave(Status(201), method="PUT", path="/manifests/1$", times=None)
    target = target_at(registry, "app", [ARM64])
    async with connect() as client:
        with pytest.raises(errors.PushNotVerified) as caught:
            await push_one(client, target, [child_at(registry, "app", ARM64)], INSECURE)
    assert str(target.index.digest) in caught.value.detail
    assert ARM64.digest in caught.value.detail
    assert caught.value.members["reference"] == f"{registry.host}/app:1"


async def test_a_tag_that_shows_the_new_index_late_is_waited_for(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", AMD64)
    late = registry.misbehave(OtherBody(AMD64.raw), method="GET", path="/manifests/1$", times=2)
    target = target_at(registry, "app", [AMD64])
    async with connect() as client:
        await push_one(client, target, [child_at(registry, "app", AMD64)], INSECURE)
    assert late.hits == 2
    await check_whole(registry, target, [AMD64])


async def test_an_immutable_tag_that_holds_the_index_is_a_success() -> None:
    async with RegistryDouble(rules=Rules(immutable_tags=True)) as double, connect() as client:
        plant(double, "app", "amd64", AMD64)
        target, children = target_at(double, "app", [AMD64]), [child_at(double, "app", AMD64)]
        await push_one(client, target, children, INSECURE)
        await push_one(client, target, children, INSECURE)
        assert double.tags("app")["1"] == str(target.index.digest)


async def test_an_immutable_tag_with_other_content_has_its_own_error() -> None:
    async with RegistryDouble(rules=Rules(immutable_tags=True)) as double, connect() as client:
        plant(double, "app", "1", AMD64)
        with pytest.raises(errors.TagImmutable) as caught:
            await push_one(
                client, target_at(double, "app", [AMD64]), [child_at(double, "app", AMD64)], INSECURE
            )
        assert not caught.value.retryable
        assert double.tags("app")["1"] == AMD64.digest
