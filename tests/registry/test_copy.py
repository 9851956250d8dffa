"""Pushing an index with all that it lists: what arrives, in which order, and what trouble makes of it."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import httpx2
import pytest

from app import errors
from app.oci.digest import parse_digest
from app.registry.client import RegistryClient, RegistryPolicy
from app.registry.push.model import (
    BlobCounts,
    CopyChild,
    CopyTarget,
    Finished,
    ManifestAction,
    Step,
    StepName,
    TagAction,
)
from tests.support.images import Image, make_image, plant, seed
from tests.support.registry import (
    Drip,
    Fault,
    FlippedByte,
    Hold,
    LostReply,
    MountDeclined,
    OtherBody,
    OtherStatus,
    RegistryDouble,
    Reset,
    Rules,
    Silence,
    Status,
    Truncated,
    UploadLocation,
    WithoutHeader,
    WrongDigestHeader,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    AnyRegistry,
    Clock,
    child_at,
    push_one,
    reference_at,
    target_at,
    until,
)

AMD64 = make_image(architecture="amd64", seed="copy")
ARM64 = make_image(architecture="arm64", seed="copy")
BOTH = [AMD64, ARM64]
# No fault can spoil the digest of no bytes at all.
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
LARGE = make_image(layers=[3 * 1024 * 1024 + 17, 0, 1], seed="large")


def connect() -> RegistryClient:
    return RegistryClient(LOOPBACK, limits=QUICK)


def steps(double: RegistryDouble) -> list[tuple[str, str]]:
    """What was asked for, with the last part of each path."""
    return [(r.method, r.path.rsplit("/", 1)[1]) for r in double.journal if r.path != "/v2/"]


async def put_up(registry: AnyRegistry, images: list[Image]) -> tuple[list[CopyChild], str]:
    """The images in repositories of their own, and the name of a repository to push to."""
    run = uuid.uuid4().hex
    children = []
    for number, image in enumerate(images):
        await seed(registry, f"copy/{run}/src{number}", "1", image)
        children.append(child_at(registry, f"copy/{run}/src{number}", image))
    return children, f"copy/{run}/dst"


async def check_whole(registry: AnyRegistry, target: CopyTarget, images: list[Image]) -> None:
    """Every tag, every manifest and every blob can be had from the target."""
    async with connect() as client:
        path = target.repository.path
        for tag in target.tags:
            fetched = await client.fetch_manifest(reference_at(registry, f"{path}:{tag}"), INSECURE)
            assert fetched.raw == target.index
        for image in images:
            await client.fetch_manifest(reference_at(registry, f"{path}@{image.digest}"), INSECURE)
            for blob in child_at(registry, path, image).blobs:
                assert len(await client.fetch_config(target.repository, blob, INSECURE)) == blob.size


# --- within one registry ---


async def test_blobs_are_mounted_and_everything_arrives(any_registry: AnyRegistry) -> None:
    children, path = await put_up(any_registry, BOTH)
    target = target_at(any_registry, path, BOTH)
    async with connect() as client:
        result = await push_one(client, target, children, INSECURE)
    assert result.blobs == BlobCounts(mounted=6)
    assert [(str(m.digest), m.action) for m in result.manifests] == [
        (image.digest, ManifestAction.PUT) for image in BOTH
    ]
    assert result.previous == {"1": None}
    await check_whole(any_registry, target, BOTH)


async def test_what_is_there_already_is_left_alone(any_registry: AnyRegistry) -> None:
    children, path = await put_up(any_registry, BOTH)
    target = target_at(any_registry, path, BOTH)
    async with connect() as client:
        await push_one(client, target, children, INSECURE)
        again = await push_one(client, target, children, INSECURE)
    assert again.blobs == BlobCounts()
    assert {m.action for m in again.manifests} == {ManifestAction.PRESENT}
    assert again.previous == {"1": target.index.digest}


async def test_several_tags_get_the_same_index(any_registry: AnyRegistry) -> None:
    children, path = await put_up(any_registry, BOTH)
    target = target_at(any_registry, path, BOTH, tags=("1", "1.2", "latest"))
    async with connect() as client:
        result = await push_one(client, target, children, INSECURE)
    assert result.previous == dict.fromkeys(target.tags)
    await check_whole(any_registry, target, BOTH)


async def test_without_a_tag_the_index_goes_under_its_digest(any_registry: AnyRegistry) -> None:
    children, path = await put_up(any_registry, BOTH)
    target = target_at(any_registry, path, BOTH, tags=())
    async with connect() as client:
        result = await push_one(client, target, children, INSECURE)
        reference = reference_at(any_registry, f"{path}@{target.index.digest}")
        assert (await client.fetch_manifest(reference, INSECURE)).raw == target.index
    assert result.previous == {}


async def test_a_source_in_the_targets_own_repository_costs_one_look(registry: RegistryDouble) -> None:
    plant(registry, "app", "amd64", AMD64)
    async with connect() as client:
        await push_one(
            client, target_at(registry, "app", [AMD64]), [child_at(registry, "app", AMD64)], INSECURE
        )
    assert sorted(steps(registry)[:2]) == [("HEAD", "1"), ("HEAD", AMD64.digest)]
    assert steps(registry)[2:] == [("PUT", "1"), ("GET", "1")]


async def test_a_child_that_is_there_costs_one_look(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    plant(registry, "app", None, AMD64)
    async with connect() as client:
        await push_one(
            client, target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)], INSECURE
        )
    assert sorted(steps(registry)) == sorted(
        [("HEAD", "1"), ("HEAD", AMD64.digest), ("PUT", "1"), ("GET", "1")]
    )


async def test_a_mount_is_one_request_and_nothing_is_looked_up_before(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    async with connect() as client:
        await push_one(
            client, target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)], INSECURE
        )
    blobs = [r for r in registry.journal if "/blobs/" in r.path]
    assert [(r.method, r.status) for r in blobs] == [("POST", 201)] * 3
    assert {r.query["from"] for r in blobs} == {"src"}
    assert {r.query["mount"] for r in blobs} == set(AMD64.blobs)


async def test_each_blob_is_handled_once_however_many_images_share_it(registry: RegistryDouble) -> None:
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


async def test_children_are_put_by_digest_and_the_tag_moves_last(registry: RegistryDouble) -> None:
    for number, image in enumerate(BOTH):
        plant(registry, f"src{number}", "1", image)
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(BOTH)]
    async with connect() as client:
        await push_one(client, target_at(registry, "app", BOTH, tags=("a", "b")), children, INSECURE)
    puts = [r.path.rsplit("/", 1)[1] for r in registry.received("PUT", "/manifests/")]
    index = str(target_at(registry, "app", BOTH).index.digest)
    assert set(puts[:2]) == {AMD64.digest, ARM64.digest}
    assert puts[2] == index
    assert set(puts[3:]) == {"a", "b"}
    assert not registry.partial_tag_puts
    assert {put.digest for put in registry.tag_puts} == {index}


async def test_an_images_manifest_does_not_wait_for_other_images_blobs(registry: RegistryDouble) -> None:
    for number, image in enumerate(BOTH):
        plant(registry, f"src{number}", "1", image)
    hold = Hold()
    registry.misbehave(hold, method="HEAD", path=ARM64.digest)
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(BOTH)]
    async with connect() as client, asyncio.TaskGroup() as group:
        group.create_task(push_one(client, target_at(registry, "app", BOTH), children, INSECURE))
        await until(lambda: bool(registry.received("PUT", AMD64.digest)))
        assert not registry.received("PUT", ARM64.digest)
        hold.gate.set()


async def test_foreign_layers_stay_where_they_are(any_registry: AnyRegistry) -> None:
    image = make_image(os="windows", foreign_layers=2, seed="foreign")
    children, path = await put_up(any_registry, [image])
    async with connect() as client:
        result = await push_one(client, target_at(any_registry, path, [image]), children, INSECURE)
    assert result.blobs.mounted == len(image.blobs)


async def test_progress_is_told_and_ends_complete(registry: RegistryDouble) -> None:
    told: list[Step] = []
    plant(registry, "src", "1", AMD64)
    async with connect() as client:
        target, children = target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)]
        await push_one(client, target, children, INSECURE, told.append)
    last = {step.name: step for step in told}
    size = sum(map(len, AMD64.blobs.values()))
    assert last[StepName.BLOBS] == Step(StepName.BLOBS, 3, 3, size, size)
    put = (Finished(AMD64.digest, ManifestAction.PUT),)
    assert last[StepName.MANIFESTS] == Step(StepName.MANIFESTS, 1, 1, finished=put)
    moved = (Finished("1", TagAction.MOVED),)
    assert last[StepName.TAGS] == Step(StepName.TAGS, 1, 1, finished=moved)
    assert all(step.done <= step.total and step.bytes_done <= step.bytes_total for step in told)


# --- where mounting does not work ---


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


async def test_a_declined_mount_is_uploaded_where_the_registry_said(registry: RegistryDouble) -> None:
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
async def test_that_mounts_do_not_work_is_remembered(
    registry: RegistryDouble, status: int, posts: str
) -> None:
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


async def test_that_mounts_do_not_work_is_forgotten_after_a_while(registry: RegistryDouble) -> None:
    clock = Clock()
    plant(registry, "src", "1", AMD64)
    declined = registry.misbehave(MountDeclined(405), times=None)
    mounted = []
    async with RegistryClient(LOOPBACK, limits=QUICK, now=clock) as client:
        for path, seconds in (("one", 0.0), ("two", QUICK.remembered_seconds - 1), ("three", 2.0)):
            clock.pass_by(seconds)
            target, children = target_at(registry, path, [AMD64]), [child_at(registry, "src", AMD64)]
            mounted.append((await push_one(client, target, children, INSECURE)).blobs.mounted)
            declined.stop()
    assert mounted == [0, 0, 3]


async def test_a_registry_that_mounts_again_is_believed_again(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    plant(registry, "src", "2", ARM64)
    registry.misbehave(MountDeclined(), times=1)
    async with connect() as client:
        for image in BOTH:
            target = target_at(registry, "app", [image])
            result = await push_one(client, target, [child_at(registry, "src", image)], INSECURE)
    assert result.blobs == BlobCounts(mounted=3)


# --- between registries ---


async def test_a_source_on_another_registry_is_streamed(any_registry: AnyRegistry) -> None:
    async with RegistryDouble() as elsewhere, connect() as client:
        plant(elsewhere, "src", "1", LARGE)
        path = f"copy/{uuid.uuid4().hex}/across"
        target = target_at(any_registry, path, [LARGE])
        result = await push_one(client, target, [child_at(elsewhere, "src", LARGE)], INSECURE)
        assert result.blobs.copied == len(LARGE.blobs)
        assert result.blobs.bytes_copied == sum(map(len, LARGE.blobs.values()))
        assert not elsewhere.received("POST")
        await check_whole(any_registry, target, [LARGE])
        again = target_at(any_registry, path, [LARGE], tags=("2",))
        assert (
            await push_one(client, again, [child_at(elsewhere, "src", LARGE)], INSECURE)
        ).blobs == BlobCounts()


async def test_many_copies_in_both_directions_end() -> None:
    images = [make_image(seed=n, layers=4) for n in range(6)]
    limits = replace(QUICK, concurrency=2, transfers=2)
    async with (
        RegistryDouble() as one,
        RegistryDouble() as two,
        RegistryClient(LOOPBACK, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        for number, image in enumerate(images):
            plant(one, f"a{number}", "1", image)
            plant(two, f"b{number}", "1", image)
        for here, there, letter in ((one, two, "a"), (two, one, "b")):
            children = [child_at(here, f"{letter}{n}", image) for n, image in enumerate(images)]
            group.create_task(push_one(client, target_at(there, "dst", images), children, INSECURE))
    for double in (one, two):
        assert double.tags("dst")["1"] == str(target_at(double, "dst", images).index.digest)


async def test_many_copies_within_a_registry_that_does_not_mount_end(registry: RegistryDouble) -> None:
    images = [make_image(seed=n, layers=4) for n in range(6)]
    registry.misbehave(MountDeclined(), times=None)
    for number, image in enumerate(images):
        plant(registry, f"a{number}", "1", image)
    children = [child_at(registry, f"a{n}", image) for n, image in enumerate(images)]
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, concurrency=1, transfers=1)) as client:
        result = await push_one(client, target_at(registry, "dst", images), children, INSECURE)
    assert result.blobs.copied == 30


async def test_a_blob_that_arrives_broken_is_not_put() -> None:
    async with RegistryDouble() as source, RegistryDouble() as target, connect() as client:
        plant(source, "src", "1", LARGE)
        source.misbehave(FlippedByte(), method="GET", path="/blobs/", times=None)
        with pytest.raises(errors.DigestMismatch) as caught:
            await push_one(
                client, target_at(target, "dst", [LARGE]), [child_at(source, "src", LARGE)], INSECURE
            )
        assert caught.value.members["registry"] == source.host
        assert target.blobs("dst") <= {EMPTY}
        assert not target.tags("dst")


@pytest.mark.parametrize("fault", [Truncated(), Truncated(with_length=False), Reset(), Status(503)])
async def test_a_source_that_breaks_off_is_read_again(fault: Fault) -> None:
    async with RegistryDouble() as source, RegistryDouble() as double, connect() as client:
        plant(source, "src", "1", LARGE)
        source.misbehave(fault, method="GET", path="/blobs/", times=2)
        target = target_at(double, "dst", [LARGE])
        result = await push_one(client, target, [child_at(source, "src", LARGE)], INSECURE)
        assert result.blobs.bytes_copied == sum(map(len, LARGE.blobs.values()))
        await check_whole(double, target, [LARGE])


@pytest.mark.parametrize("fault", [Reset(), Status(503), Status(429), Status.oci(404, "BLOB_UPLOAD_UNKNOWN")])
async def test_an_upload_that_fails_is_begun_anew(fault: Fault) -> None:
    async with RegistryDouble() as source, RegistryDouble() as double, connect() as client:
        plant(source, "src", "1", LARGE)
        double.misbehave(fault, method="PUT", path="/blobs/uploads/", times=2)
        target = target_at(double, "dst", [LARGE])
        await push_one(client, target, [child_at(source, "src", LARGE)], INSECURE)
        uploads = [r.path for r in double.received("PUT", "/uploads/")]
        assert len(uploads) == len(set(uploads)) == len(LARGE.blobs) + 2
        await check_whole(double, target, [LARGE])


async def test_a_blob_that_the_source_lacks_is_named() -> None:
    async with RegistryDouble() as source, RegistryDouble() as double, connect() as client:
        source.add_manifest("src", "1", AMD64.raw, AMD64.media_type)
        with pytest.raises(errors.SourceNotFound) as caught:
            await push_one(
                client, target_at(double, "dst", [AMD64]), [child_at(source, "src", AMD64)], INSECURE
            )
        assert caught.value.members["registry"] == source.host
        assert not double.tags("dst")


@pytest.mark.parametrize("side", ["source", "target"])
async def test_a_copy_that_stands_still_ends(side: str) -> None:
    limits = replace(QUICK, stall_seconds=0.3, attempts=1)
    async with (
        RegistryDouble() as source,
        RegistryDouble() as double,
        RegistryClient(LOOPBACK, limits=limits) as client,
    ):
        plant(source, "src", "1", LARGE)
        if side == "source":
            source.misbehave(Drip(0.1), method="GET", path="/blobs/", times=None)
        else:
            double.misbehave(Silence(), method="PUT", path="/blobs/uploads/", times=None)
        with pytest.raises(errors.RegistryTimeout):
            await push_one(
                client, target_at(double, "dst", [LARGE]), [child_at(source, "src", LARGE)], INSECURE
            )


async def test_what_is_insecure_for_the_target_is_not_so_for_another_source() -> None:
    """A source whose registry may not be insecure is reached with verified TLS, or not at all."""
    async with RegistryDouble() as source, RegistryDouble() as double:
        policy = RegistryPolicy.parse(allowed_networks=["127.0.0.0/8"], insecure_hosts=[double.host])
        plant(source, "src", "1", AMD64)
        async with RegistryClient(policy, limits=QUICK) as client:
            target, children = target_at(double, "dst", [AMD64]), [child_at(source, "src", AMD64)]
            with pytest.raises(errors.RegistryTlsFailed) as caught:
                await push_one(client, target, children, INSECURE)
        assert caught.value.members["registry"] == source.host


# --- where uploads go ---


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


# --- tags ---


async def test_the_digest_that_a_tag_held_is_told(any_registry: AnyRegistry) -> None:
    children, path = await put_up(any_registry, BOTH)
    await seed(any_registry, path, "1", AMD64)
    async with connect() as client:
        target = target_at(any_registry, path, BOTH, tags=("1", "2"))
        result = await push_one(client, target, children, INSECURE)
    assert result.previous == {"1": parse_digest(AMD64.digest), "2": None}


@pytest.mark.parametrize("faults", [[WithoutHeader()], [Status(405)], [Status(403)]])
async def test_the_digest_that_a_tag_held_is_found_without_help_of_head(
    registry: RegistryDouble, faults: list[Fault]
) -> None:
    plant(registry, "app", "1", AMD64)
    for fault in faults:
        registry.misbehave(fault, method="HEAD", times=None)
    async with connect() as client:
        result = await push_one(
            client, target_at(registry, "app", [AMD64]), [child_at(registry, "app", AMD64)], INSECURE
        )
    assert result.previous == {"1": parse_digest(AMD64.digest)}


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


async def test_an_answer_that_never_comes_is_no_failure_if_the_tag_moved(registry: RegistryDouble) -> None:
    plant(registry, "app", "amd64", AMD64)
    registry.misbehave(Silence(takes_effect=True), method="PUT", path="/manifests/1$", times=None)
    target = target_at(registry, "app", [AMD64])
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, call_seconds=0.5)) as client:
        await push_one(client, target, [child_at(registry, "app", AMD64)], INSECURE)
    await check_whole(registry, target, [AMD64])


async def test_a_registry_that_says_yes_and_stores_nothing_is_found_out(registry: RegistryDouble) -> None:
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


async def test_an_immutable_tag_that_holds_something_else_is_told_apart() -> None:
    async with RegistryDouble(rules=Rules(immutable_tags=True)) as double, connect() as client:
        plant(double, "app", "1", AMD64)
        with pytest.raises(errors.TagImmutable) as caught:
            await push_one(
                client, target_at(double, "app", [AMD64]), [child_at(double, "app", AMD64)], INSECURE
            )
        assert not caught.value.retryable
        assert double.tags("app")["1"] == AMD64.digest


async def test_a_child_of_which_the_registry_says_another_digest_is_put(registry: RegistryDouble) -> None:
    """A cache that answers HEAD for something else has not got what was asked for."""
    plant(registry, "app", None, AMD64)
    registry.misbehave(WrongDigestHeader(), method="HEAD", path=f"/manifests/{AMD64.digest}")
    async with connect() as client:
        result = await push_one(
            client, target_at(registry, "app", [AMD64]), [child_at(registry, "app", AMD64)], INSECURE
        )
    assert {each.action for each in result.manifests} == {ManifestAction.PUT}


@pytest.mark.parametrize("status", [200, 202])
async def test_a_manifest_may_be_taken_in_several_ways(registry: RegistryDouble, status: int) -> None:
    plant(registry, "src", "1", AMD64)
    registry.misbehave(OtherStatus(status), method="PUT", path="/manifests/", times=None)
    target = target_at(registry, "app", [AMD64])
    async with connect() as client:
        await push_one(client, target, [child_at(registry, "src", AMD64)], INSECURE)
    assert registry.tags("app")["1"] == str(target.index.digest)


async def test_where_head_is_unknown_and_what_is_missing_forbidden_manifests_are_put(
    registry: RegistryDouble,
) -> None:
    plant(registry, "src", "1", AMD64)
    registry.misbehave(Status(405), method="HEAD", path="/manifests/", times=None)
    registry.misbehave(Status.oci(403, "DENIED"), method="GET", path=f"/app/manifests/{AMD64.digest}")
    target = target_at(registry, "app", [AMD64])
    async with connect() as client:
        await push_one(client, target, [child_at(registry, "src", AMD64)], INSECURE)
    assert registry.tags("app")["1"] == str(target.index.digest)


async def test_a_registry_that_says_it_stored_something_else_is_not_believed(
    registry: RegistryDouble,
) -> None:
    """Children are not read back: what the registry says of them is all that is known."""
    plant(registry, "src", "1", AMD64)
    registry.misbehave(WrongDigestHeader(), method="PUT", path=f"/manifests/{AMD64.digest}")
    target, children = target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)]
    async with connect() as client:
        with pytest.raises(errors.PushNotVerified, match=AMD64.digest):
            await push_one(client, target, children, INSECURE)
    assert not registry.tags("app")


async def test_blobs_that_a_registry_does_not_know_yet_are_waited_for(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    late = Status.oci(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
    rule = registry.misbehave(late, method="PUT", path="/manifests/", times=2)
    target = target_at(registry, "app", [AMD64])
    async with connect() as client:
        await push_one(client, target, [child_at(registry, "src", AMD64)], INSECURE)
    assert rule.hits == 2
    await check_whole(registry, target, [AMD64])


async def test_a_child_that_is_gone_fails_the_push_and_moves_no_tag(any_registry: AnyRegistry) -> None:
    path = f"copy/{uuid.uuid4().hex}/gone"
    async with connect() as client:
        target, children = target_at(any_registry, path, [AMD64]), [child_at(any_registry, path, AMD64)]
        with pytest.raises(errors.SourceNotFound) as caught:
            await push_one(client, target, children, INSECURE)
        assert caught.value.members["upstream_code"] == "BLOB_UNKNOWN"
        assert await client.head_manifest(reference_at(any_registry, f"{path}:1"), INSECURE) is None


async def test_a_child_that_was_collected_comes_back_from_what_is_left(any_registry: AnyRegistry) -> None:
    path = f"copy/{uuid.uuid4().hex}/collected"
    await seed(any_registry, path, "other", make_image(architecture="arm64", base=AMD64.layers, layers=0))
    root = f"{any_registry.base_url}/v2/{path}/blobs/uploads/?digest={AMD64.config_digest}"
    async with httpx2.AsyncClient() as http:
        begun = await http.post(root.partition("?")[0])
        where = begun.request.url.join(begun.headers["Location"]).copy_add_param(
            "digest", AMD64.config_digest
        )
        assert (await http.put(where, content=AMD64.config)).status_code == 201
    async with connect() as client:
        target, children = target_at(any_registry, path, [AMD64]), [child_at(any_registry, path, AMD64)]
        result = await push_one(client, target, children, INSECURE)
    assert [m.action for m in result.manifests] == [ManifestAction.PUT]
    await check_whole(any_registry, target, [AMD64])


async def test_a_registry_that_takes_any_index_still_gets_a_whole_one() -> None:
    async with RegistryDouble(rules=Rules(require_children=False)) as double, connect() as client:
        with pytest.raises(errors.SourceNotFound):
            await push_one(
                client, target_at(double, "app", [AMD64]), [child_at(double, "app", AMD64)], INSECURE
            )
        assert not double.tag_puts


async def test_what_was_seen_long_ago_is_looked_at_again_before_the_tag_moves(
    registry: RegistryDouble,
) -> None:
    registry.rules.require_children = False
    for number, image in enumerate(BOTH):
        plant(registry, f"src{number}", "1", image)
    hold = Hold()
    registry.misbehave(hold, method="PUT", path=ARM64.digest)
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(BOTH)]
    async with (
        RegistryClient(LOOPBACK, limits=replace(QUICK, fresh_seconds=0)) as client,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(push_one(client, target_at(registry, "app", BOTH), children, INSECURE))
        held = registry.content.at("app")
        await until(lambda: AMD64.digest in held.manifests and hold.reached.is_set())
        held.delete_manifest(AMD64.digest)
        for digest in AMD64.blobs:
            held.blobs.pop(digest)
        hold.gate.set()
    assert [put.missing for put in registry.tag_puts] == [()]


async def test_a_child_of_which_head_lied_is_put_after_all(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    seen = Status(200, headers={"Docker-Content-Digest": AMD64.digest})
    registry.misbehave(seen, method="HEAD", path=AMD64.digest, times=None)
    target = target_at(registry, "app", [AMD64])
    async with connect() as client:
        await push_one(client, target, [child_at(registry, "src", AMD64)], INSECURE)
    assert [put.accepted for put in registry.tag_puts] == [False, True]
    await check_whole(registry, target, [AMD64])


async def test_one_image_that_fails_leaves_the_tag_alone(registry: RegistryDouble) -> None:
    for number, image in enumerate(BOTH):
        plant(registry, f"src{number}", "1", image)
    registry.misbehave(Status.oci(400, "MANIFEST_INVALID"), method="PUT", path=ARM64.digest, times=None)
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(BOTH)]
    async with connect() as client:
        with pytest.raises(errors.RegistryRejected) as caught:
            await push_one(client, target_at(registry, "app", BOTH), children, INSECURE)
    assert caught.value.members["reference"] == f"{registry.host}/app@{ARM64.digest}"
    assert not registry.tag_puts


# --- being stopped ---


@pytest.mark.parametrize("path", ["/v2/$", "/manifests/", "/blobs/uploads/", "/manifests/1$"])
async def test_a_cancelled_push_leaves_nothing_running(registry: RegistryDouble, path: str) -> None:
    for number, image in enumerate(BOTH):
        plant(registry, f"src{number}", "1", image)
    hold = Hold()
    registry.misbehave(hold, path=path, times=None)
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(BOTH)]
    async with connect() as client:
        before = asyncio.all_tasks()
        task = asyncio.create_task(push_one(client, target_at(registry, "app", BOTH), children, INSECURE))
        await hold.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        hold.gate.set()
        await quiet(registry, before)
    assert not registry.tag_puts


async def test_a_cancelled_copy_closes_its_connections() -> None:
    async with RegistryDouble() as source, RegistryDouble() as double, connect() as client:
        plant(source, "src", "1", LARGE)
        dripping = source.misbehave(Drip(0.05), method="GET", path="/blobs/", times=None)
        before = asyncio.all_tasks()
        target, children = target_at(double, "dst", [LARGE]), [child_at(source, "src", LARGE)]
        task = asyncio.create_task(push_one(client, target, children, INSECURE))
        await until(lambda: dripping.hits > 0 and bool(double.received("PUT", "/uploads/")))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await quiet(source, before)
        await quiet(double, before)


async def test_one_of_two_who_wait_for_the_same_answer_may_leave(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", AMD64)
    hold = Hold()
    registry.misbehave(hold, path="^/v2/$")
    reference = reference_at(registry, "app:1")
    async with connect() as client:
        first = asyncio.create_task(client.fetch_manifest(reference, INSECURE))
        second = asyncio.create_task(client.fetch_manifest(reference, INSECURE))
        await hold.reached.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        hold.gate.set()
        assert str((await second).digest) == AMD64.digest


async def quiet(double: RegistryDouble, before: set[asyncio.Task[object]]) -> None:
    """Until no request is in flight and no task of ours is left."""
    await until(
        lambda: not double.log.in_flight and not [t for t in asyncio.all_tasks() - before if is_ours(t)]
    )


def is_ours(task: asyncio.Task[object]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and "/app/" in code.co_filename
