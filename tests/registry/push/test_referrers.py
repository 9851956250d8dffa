"""Referrers of the pushed images are copied too: signatures, SBOMs, and signatures of those."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence
from dataclasses import replace

import pytest

from app import errors
from app.oci.digest import Digest, parse_digest
from app.oci.referrers import referrers_tag
from app.registry.client import Limits
from app.registry.push.model import (
    CopyTarget,
    Finished,
    ReferrerAction,
    ReferrerOutcome,
    Step,
    StepName,
)
from app.registry.push.push import dry_run, push
from tests.support.images import (
    OCI_INDEX,
    Content,
    Image,
    make_image,
    make_index,
    make_referrer,
    plant,
    seed,
)
from tests.support.registry import Hold, LostReply, MountDeclined, RegistryDouble, Status, WithoutHeader
from tests.support.registry_clients import (
    INSECURE,
    QUICK,
    AnyRegistry,
    child_at,
    connect,
    push_one,
    quiet,
    repository_at,
    target_at,
)

IMAGE = make_image(media="oci", seed="signed")
OTHER = make_image(media="oci", seed="signed", architecture="arm64")
SIGNATURE = make_referrer(IMAGE, seed="signature", annotations={"by": "cosign"})
SBOM = make_referrer(IMAGE, artifact_type="application/spdx+json", seed="sbom", layers=2)
OF_SBOM = make_referrer(SBOM, seed="signature of the sbom")
ALL = [SIGNATURE, SBOM, OF_SBOM]
TYPE = "application/vnd.example.signature.v1"


def digest(content: Content) -> Digest:
    return parse_digest(content.digest)


def placed(subject: Content, referrer: Image, action: str, artifact_type: str = TYPE) -> ReferrerOutcome:
    return ReferrerOutcome(digest(subject), digest(referrer), artifact_type, ReferrerAction(action))


def in_order(*each: ReferrerOutcome) -> tuple[ReferrerOutcome, ...]:
    return tuple(sorted(each, key=lambda one: (one.subject, one.digest)))


def plant_all(double: RegistryDouble, path: str, contents: Sequence[Content]) -> None:
    """Plants images with the tags that a registry without the API needs."""
    subjects: dict[str, list[Content]] = {}
    for content in contents:
        plant(double, path, None, content)
        for other in contents:
            if f'"{other.digest}"'.encode() in content.raw:
                subjects.setdefault(other.digest, []).append(content)
    if not double.rules.referrers_api:
        for subject, referrers in subjects.items():
            plant(double, path, referrers_tag(parse_digest(subject)), make_index(referrers))


async def check_referrers(registry: AnyRegistry, path: str, subject: Content, wanted: list[Image]) -> None:
    """Checks that referrers are listed and complete: manifest, config and layers."""
    async with connect() as client:
        repository = repository_at(registry, path)
        found = await client.list_referrers(repository, digest(subject), INSECURE)
        assert sorted(str(each.digest) for each in found) == sorted(each.digest for each in wanted)
        for each in wanted:
            manifest = await client.fetch_manifest(repository.at(digest(each)), INSECURE)
            assert manifest.raw.raw == each.raw
            for blob in child_at(registry, path, each).blobs:
                assert len(await client.fetch_config(repository, blob, INSECURE)) == blob.size


def chain(length: int) -> list[Image]:
    links: list[Image] = []
    for number in range(length):
        links.append(make_referrer(links[-1] if links else IMAGE, seed=number))
    return links


@pytest.mark.parametrize("has_api", [True, False])
async def test_referrers_of_referrers_are_copied(any_registry: AnyRegistry, has_api: bool) -> None:
    """Between registries with the API, without it, or one of each."""
    path = f"referrers/{uuid.uuid4().hex}"
    async with RegistryDouble() as source, connect() as client:
        source.rules.referrers_api = has_api
        plant_all(source, "src", [IMAGE, *ALL])
        target = target_at(any_registry, path, [IMAGE])
        result = await push_one(
            client, target, [child_at(source, "src", IMAGE)], INSECURE, with_referrers=True
        )
    assert result.referrers == in_order(
        placed(IMAGE, SIGNATURE, "put"),
        placed(IMAGE, SBOM, "put", "application/spdx+json"),
        placed(SBOM, OF_SBOM, "put"),
    )
    await check_referrers(any_registry, path, IMAGE, [SIGNATURE, SBOM])
    await check_referrers(any_registry, path, SBOM, [OF_SBOM])


async def test_blobs_of_referrers_are_mounted_within_a_registry(any_registry: AnyRegistry) -> None:
    path = f"referrers/{uuid.uuid4().hex}"
    if isinstance(any_registry, RegistryDouble):
        plant_all(any_registry, f"{path}/src", [IMAGE, SIGNATURE])
    else:
        for each in (IMAGE, SIGNATURE):
            await seed(any_registry, f"{path}/src", None, each)
        tag = referrers_tag(digest(IMAGE))
        await seed(any_registry, f"{path}/src", tag, make_index([SIGNATURE]))
    async with connect() as client:
        target, children = (
            target_at(any_registry, f"{path}/app", [IMAGE]),
            [child_at(any_registry, f"{path}/src", IMAGE)],
        )
        result = await push_one(client, target, children, INSECURE, with_referrers=True)
    assert result.blobs.mounted == len(IMAGE.blobs) + len(SIGNATURE.blobs)
    assert result.blobs.copied == 0
    await check_referrers(any_registry, f"{path}/app", IMAGE, [SIGNATURE])


async def test_referrers_are_copied_on_request_only(registry: RegistryDouble) -> None:
    plant_all(registry, "src", [IMAGE, SIGNATURE])
    async with connect() as client:
        result = await push_one(
            client, target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)], INSECURE
        )
    assert result.referrers == ()
    assert not registry.received(path="/referrers/")
    assert SIGNATURE.digest not in registry.content.at("app").manifests


async def test_only_referrers_of_the_pushed_images_are_copied(registry: RegistryDouble) -> None:
    of_other = make_referrer(OTHER)
    plant_all(registry, "src", [IMAGE, OTHER, SIGNATURE, of_other])
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        result = await push_one(client, target, children, INSECURE, with_referrers=True)
    assert result.referrers == (placed(IMAGE, SIGNATURE, "put"),)
    assert of_other.digest not in registry.content.at("app").manifests


async def test_referrers_of_images_in_the_target_are_not_copied(registry: RegistryDouble) -> None:
    plant_all(registry, "app", [IMAGE, SIGNATURE])
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "app", IMAGE)]
        result = await push_one(client, target, children, INSECURE, with_referrers=True)
    assert result.referrers == ()
    assert not registry.received(path="/referrers/")


async def test_referrers_are_copied_before_any_tag_moves(registry: RegistryDouble) -> None:
    plant_all(registry, "src", [IMAGE, SIGNATURE])
    registry.misbehave(Status.oci(403, "DENIED"), method="PUT", path=f"/{SIGNATURE.digest}$", times=None)
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        with pytest.raises(errors.RegistryDenied):
            await push_one(client, target, children, INSECURE, with_referrers=True)
    assert not registry.tag_puts


async def test_an_index_that_refers_to_an_image_is_copied_with_its_manifests(
    any_registry: AnyRegistry,
) -> None:
    path = f"referrers/{uuid.uuid4().hex}"
    inner = make_index([make_image(media="oci", seed="of the inner index")])
    listed = [make_image(media="oci", seed=f"part {n}") for n in range(2)]
    bundle = make_index([*listed, inner], extra={"subject": IMAGE.descriptor(), "artifactType": TYPE})
    async with RegistryDouble() as source, connect() as client:
        plant_all(source, "src", [IMAGE, bundle])
        target, children = target_at(any_registry, path, [IMAGE]), [child_at(source, "src", IMAGE)]
        result = await push_one(client, target, children, INSECURE, with_referrers=True)
        assert [(each.digest, each.action) for each in result.referrers] == [
            (digest(bundle), ReferrerAction.PUT)
        ]
        repository = repository_at(any_registry, path)
        everything: list[Content] = [bundle, inner, *listed]
        for each in everything:
            assert (await client.fetch_manifest(repository.at(digest(each)), INSECURE)).raw.raw == each.raw
        (found,) = await client.list_referrers(repository, digest(IMAGE), INSECURE)
        assert found.digest == digest(bundle)


async def test_a_manifest_of_a_referring_index_may_have_a_subject_itself(
    registry: RegistryDouble,
) -> None:
    registry.rules.referrers_api = False
    inner = make_referrer(OTHER, seed="inner")
    bundle = make_index([inner], extra={"subject": IMAGE.descriptor()})
    plant_all(registry, "src", [IMAGE, bundle])
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        await push_one(client, target, children, INSECURE, with_referrers=True)
    await check_referrers(registry, "app", OTHER, [inner])


async def test_the_size_in_a_list_of_referrers_is_not_trusted(registry: RegistryDouble) -> None:
    """Google's registry has listed the sizes of other manifests (oras#1626)."""
    registry.rules.referrers_api = False
    plant_all(registry, "src", [IMAGE, SIGNATURE])
    _, raw = registry.get_manifest("src", referrers_tag(digest(IMAGE)))
    wrong = raw.replace(f'"size": {len(SIGNATURE.raw)}'.encode(), b'"size": 9')
    assert wrong != raw
    registry.add_manifest("src", referrers_tag(digest(IMAGE)), wrong, OCI_INDEX)
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        await push_one(client, target, children, INSECURE, with_referrers=True)
        (found,) = await client.list_referrers(target.repository, digest(IMAGE), INSECURE)
    assert found.size == len(SIGNATURE.raw)


@pytest.mark.parametrize("has_api", [True, False])
async def test_a_repeated_push_finds_the_referrers_present(registry: RegistryDouble, has_api: bool) -> None:
    async with RegistryDouble() as source, connect() as client:
        registry.rules.referrers_api = has_api
        plant_all(source, "src", [IMAGE, *ALL])
        target, children = target_at(registry, "app", [IMAGE]), [child_at(source, "src", IMAGE)]
        first = await push_one(client, target, children, INSECURE, with_referrers=True)
        registry.forget()
        again = await push_one(client, target, children, INSECURE, with_referrers=True)
    assert again.referrers == tuple(replace(each, action=ReferrerAction.PRESENT) for each in first.referrers)
    assert again.blobs.copied == again.blobs.mounted == 0
    assert [r.path for r in registry.received("PUT")] == ["/v2/app/manifests/1"]


@pytest.mark.parametrize("has_api", [True, False])
async def test_a_present_referrer_that_is_not_listed_is_listed(
    registry: RegistryDouble, has_api: bool
) -> None:
    """An interrupted attempt leaves it so, and no search for signatures would find it."""
    registry.rules.referrers_api = has_api
    plant_all(registry, "src", [IMAGE, SIGNATURE])
    plant(registry, "app", None, SIGNATURE)
    if has_api:
        empty = Status(200, b'{"schemaVersion":2,"manifests":[]}', headers={"Content-Type": OCI_INDEX})
        registry.misbehave(empty, path="/app/referrers/")
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        result = await push_one(client, target, children, INSECURE, with_referrers=True)
    assert result.referrers == (placed(IMAGE, SIGNATURE, "put"),)
    await check_referrers(registry, "app", IMAGE, [SIGNATURE])


async def test_referrers_are_fetched_once_for_several_targets(registry: RegistryDouble) -> None:
    async with RegistryDouble() as source, connect() as client:
        plant_all(source, "src", [IMAGE, *ALL])
        targets = [target_at(registry, name, [IMAGE]) for name in ("a", "b")]
        results = await push(client, targets, [child_at(source, "src", IMAGE)], INSECURE, with_referrers=True)
        asked = [r.target for r in source.journal if r.path != "/v2/"]
        assert len(asked) == len(set(asked))
    assert results[0].referrers == results[1].referrers
    assert results[1].blobs.copied == 0
    for name in ("a", "b"):
        await check_referrers(registry, name, IMAGE, [SIGNATURE, SBOM])


async def test_without_the_api_several_referrers_are_listed_by_one_write(
    registry: RegistryDouble,
) -> None:
    registry.rules.referrers_api = False
    signatures = [make_referrer(IMAGE, seed=n) for n in range(9)]
    async with RegistryDouble() as source, connect() as client:
        plant_all(source, "src", [IMAGE, *signatures])
        target, children = target_at(registry, "app", [IMAGE]), [child_at(source, "src", IMAGE)]
        await push_one(client, target, children, INSECURE, with_referrers=True)
    tag = referrers_tag(digest(IMAGE))
    asked = [r.method for r in registry.received(path=f"/manifests/{tag}")]
    assert asked == ["GET", "PUT", "GET", "GET", "GET"]
    await check_referrers(registry, "app", IMAGE, signatures)
    assert not registry.partial_tag_puts


async def test_progress_names_the_referrers(registry: RegistryDouble) -> None:
    plant_all(registry, "src", [IMAGE, *ALL])
    told: list[Step] = []
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        await push_one(client, target, children, INSECURE, told.append, with_referrers=True)
    last = {step.name: step for step in told}[StepName.REFERRERS]
    assert set(last.finished) == {Finished(each.digest, ReferrerAction.PUT) for each in ALL}
    assert (last.done, last.total) == (3, 3)


async def test_a_listed_referrer_that_is_gone_is_reported_as_missing(registry: RegistryDouble) -> None:
    """Tags that list referrers keep deleted entries."""
    registry.rules.referrers_api = False
    plant_all(registry, "src", [IMAGE, SIGNATURE, SBOM])
    registry.content.at("src").delete_manifest(SBOM.digest)
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        result = await push_one(client, target, children, INSECURE, with_referrers=True)
    assert {(each.digest, each.action) for each in result.referrers} == {
        (digest(SIGNATURE), ReferrerAction.PUT),
        (digest(SBOM), ReferrerAction.MISSING),
    }
    await check_referrers(registry, "app", IMAGE, [SIGNATURE])


@pytest.mark.parametrize("lie", ["of another", "no referrer", "itself"])
async def test_a_listed_manifest_without_the_subject_is_no_referrer(
    registry: RegistryDouble, lie: str
) -> None:
    """Anyone can write a list; the manifest itself must name its subject."""
    registry.rules.referrers_api = False
    listed = {"of another": make_referrer(OTHER), "no referrer": OTHER, "itself": IMAGE}[lie]
    plant_all(registry, "src", [IMAGE, listed])
    plant(registry, "src", referrers_tag(digest(IMAGE)), make_index([listed, SIGNATURE]))
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        result = await push_one(client, target, children, INSECURE, with_referrers=True)
    assert result.referrers == (placed(IMAGE, SIGNATURE, "put"),)


async def test_a_circle_in_a_list_of_referrers_is_not_followed(registry: RegistryDouble) -> None:
    registry.rules.referrers_api = False
    plant_all(registry, "src", [IMAGE, SBOM, OF_SBOM])
    plant(registry, "src", referrers_tag(digest(OF_SBOM)), make_index([SBOM, OF_SBOM]))
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        result = await push_one(client, target, children, INSECURE, with_referrers=True)
    assert [each.digest for each in result.referrers if each.subject == digest(OF_SBOM)] == []
    assert len(result.referrers) == 2


async def test_a_referrer_of_an_unsupported_type_fails_the_push(registry: RegistryDouble) -> None:
    kind = "application/vnd.oci.artifact.manifest.v1+json"
    plant_all(registry, "src", [IMAGE, make_referrer(IMAGE, media_type=kind)])
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        with pytest.raises(errors.SourceUnsupported) as caught:
            await push_one(client, target, children, INSECURE, with_referrers=True)
    assert kind in caught.value.detail
    assert not registry.tag_puts


async def test_referrers_are_copied_to_a_depth_of_four(registry: RegistryDouble) -> None:
    links = chain(6)
    plant_all(registry, "src", [IMAGE, *links])
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        result = await push_one(client, target, children, INSECURE, with_referrers=True)
    assert {each.digest for each in result.referrers} == {digest(each) for each in links[:4]}


@pytest.mark.parametrize(
    ("limits", "fits"),
    [
        (replace(QUICK, referrers=5), False),
        (replace(QUICK, referrers=6), True),
        (replace(QUICK, referrer_bytes=4000), False),
        (replace(QUICK, referrer_manifest_bytes=3000), False),
    ],
)
async def test_too_many_referrers_fail_the_push_before_any_tag_moves(
    registry: RegistryDouble, limits: Limits, fits: bool
) -> None:
    """The limit is for all referrers together, and none is left out silently."""
    signatures = [make_referrer(each, seed=n) for each in (IMAGE, OTHER) for n in range(3)]
    plant_all(registry, "src", [IMAGE, OTHER, *signatures])
    children = [child_at(registry, "src", each) for each in (IMAGE, OTHER)]
    async with connect(limits) as client:
        target = target_at(registry, "app", [IMAGE, OTHER])
        if fits:
            result = await push_one(client, target, children, INSECURE, with_referrers=True)
            assert len(result.referrers) == 6
            return
        with pytest.raises(errors.SourceTooLarge):
            await push_one(client, target, children, INSECURE, with_referrers=True)
    assert not registry.tag_puts


async def test_an_index_that_is_nested_too_deeply_fails_the_push(registry: RegistryDouble) -> None:
    nested: Content = make_image(media="oci")
    for _ in range(3):
        nested = make_index([nested])
    bundle = make_index([nested], extra={"subject": IMAGE.descriptor()})
    plant_all(registry, "src", [IMAGE, bundle])
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        with pytest.raises(errors.SourceUnsupported):
            await push_one(client, target, children, INSECURE, with_referrers=True)


@pytest.mark.parametrize("seed", range(16))
async def test_a_push_copies_the_referrers_that_the_dry_run_predicted(
    registry: RegistryDouble, seed: int
) -> None:
    dice = random.Random(seed)
    async with RegistryDouble() as other, connect() as client:
        for double in (registry, other):
            double.rules.referrers_api = dice.random() < 0.5
        source, path = dice.choice([(registry, "src"), (other, "src"), (registry, "a")])
        plant_all(source, path, [IMAGE, *dice.sample(ALL, dice.randint(0, 3))])
        targets = [target_at(*dice.choice([(registry, name), (other, name)]), [IMAGE]) for name in ("a", "b")]
        for target in targets:
            double = registry if target.repository.registry == registry.host else other
            if dice.random() < 0.5:
                plant_all(double, target.repository.path, [IMAGE, *dice.sample(ALL[:2], dice.randint(0, 2))])
        children = [child_at(source, path, IMAGE)]
        foretold = await dry_run(client, targets, children, INSECURE, with_referrers=True)
        assert {r.method for r in [*registry.journal, *other.journal]} <= {"GET", "HEAD"}
        done = await push(client, targets, children, INSECURE, with_referrers=True)
    assert [each.referrers for each in foretold] == [each.referrers for each in done]
    assert [each.counts for each in foretold] == [each.blobs for each in done]
    assert [each.manifests for each in foretold] == [each.manifests for each in done]


@pytest.mark.parametrize(
    "path", ["/src/referrers/", f"/src/manifests/{SBOM.digest}", f"/app/manifests/{SBOM.digest}"]
)
async def test_a_cancelled_push_leaves_no_task_running(registry: RegistryDouble, path: str) -> None:
    """Several targets share the search."""
    plant_all(registry, "src", [IMAGE, *ALL])
    hold = Hold()
    registry.misbehave(hold, path=path, times=None)
    targets = [target_at(registry, name, [IMAGE]) for name in ("app", "b")]
    async with connect() as client:
        before = asyncio.all_tasks()
        task = asyncio.create_task(
            push(client, targets, [child_at(registry, "src", IMAGE)], INSECURE, with_referrers=True)
        )
        await hold.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        hold.gate.set()
        await quiet(registry, before)
    assert not registry.tag_puts


@pytest.mark.parametrize("fault", [LostReply(), WithoutHeader("OCI-Subject"), MountDeclined(405)])
async def test_referrers_arrive_in_spite_of_faults(registry: RegistryDouble, fault: object) -> None:
    plant_all(registry, "src", [IMAGE, *ALL])
    assert isinstance(fault, (LostReply, WithoutHeader, MountDeclined))
    registry.misbehave(fault, method="POST" if isinstance(fault, MountDeclined) else "PUT", times=2)
    async with connect() as client:
        target: CopyTarget = target_at(registry, "app", [IMAGE])
        await push_one(client, target, [child_at(registry, "src", IMAGE)], INSECURE, with_referrers=True)
    await check_referrers(registry, "app", IMAGE, [SIGNATURE, SBOM])
    await check_referrers(registry, "app", SBOM, [OF_SBOM])
