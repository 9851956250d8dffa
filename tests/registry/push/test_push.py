"""A push: everything is staged at all targets, the guard decides, then the tags move."""

from __future__ import annotations

import asyncio

import pytest

from app import errors
from app.oci.digest import parse_digest
from app.oci.reference import Repository
from app.registry.push.model import (
    BlobCounts,
    CopyTarget,
    Finished,
    ManifestAction,
    Step,
    StepName,
    TagAction,
)
from app.registry.push.push import push
from tests.support.images import plant
from tests.support.pushes import (
    AMD64,
    ARM64,
    BOTH,
    DENIED,
    OTHER,
    STAGED,
    RecordingGuard,
    check_whole,
    last_requests,
    plant_apart,
)
from tests.support.registry import (
    Hold,
    RegistryDouble,
    Rules,
    Status,
    Truncated,
)
from tests.support.registry_clients import (
    INSECURE,
    AnyRegistry,
    child_at,
    connect,
    push_one,
    quiet,
    reference_at,
    target_at,
)


async def test_blobs_are_mounted_and_everything_arrives(any_registry: AnyRegistry) -> None:
    children, path = await plant_apart(any_registry, BOTH)
    target = target_at(any_registry, path, BOTH)
    async with connect() as client:
        result = await push_one(client, target, children, INSECURE)
    assert result.blobs == BlobCounts(mounted=6)
    assert [(str(m.digest), m.action) for m in result.manifests] == [
        (image.digest, ManifestAction.PUT) for image in BOTH
    ]
    assert result.previous == {"1": None}
    await check_whole(any_registry, target, BOTH)


async def test_present_content_is_left_alone(any_registry: AnyRegistry) -> None:
    children, path = await plant_apart(any_registry, BOTH)
    target = target_at(any_registry, path, BOTH)
    async with connect() as client:
        await push_one(client, target, children, INSECURE)
        again = await push_one(client, target, children, INSECURE)
    assert again.blobs == BlobCounts()
    assert {m.action for m in again.manifests} == {ManifestAction.PRESENT}
    assert again.previous == {"1": target.index.digest}


async def test_children_are_put_by_digest_and_the_tag_moves_last(registry: RegistryDouble) -> None:
    for number, image in enumerate(BOTH):
        plant(registry, f"src{number}", "1", image)
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(BOTH)]
    async with connect() as client:
        await push_one(client, target_at(registry, "app", BOTH, tags=("a", "b")), children, INSECURE)
    puts_of = [r.path.rsplit("/", 1)[1] for r in registry.received("PUT", "/manifests/")]
    index = str(target_at(registry, "app", BOTH).index.digest)
    assert set(puts_of[:2]) == {AMD64.digest, ARM64.digest}
    assert puts_of[2] == index
    assert set(puts_of[3:]) == {"a", "b"}
    assert not registry.partial_tag_puts
    assert {put.digest for put in registry.tag_puts} == {index}


async def test_progress_is_reported_until_it_is_complete(registry: RegistryDouble) -> None:
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


async def test_a_registry_that_takes_any_index_still_gets_a_whole_one() -> None:
    async with RegistryDouble(rules=Rules(require_children=False)) as double, connect() as client:
        with pytest.raises(errors.SourceNotFound):
            await push_one(
                client, target_at(double, "app", [AMD64]), [child_at(double, "app", AMD64)], INSECURE
            )
        assert not double.tag_puts


async def test_a_failed_image_leaves_the_tag_alone(registry: RegistryDouble) -> None:
    for number, image in enumerate(BOTH):
        plant(registry, f"src{number}", "1", image)
    registry.misbehave(Status.oci(400, "MANIFEST_INVALID"), method="PUT", path=ARM64.digest, times=None)
    children = [child_at(registry, f"src{n}", image) for n, image in enumerate(BOTH)]
    async with connect() as client:
        with pytest.raises(errors.RegistryRejected) as caught:
            await push_one(client, target_at(registry, "app", BOTH), children, INSECURE)
    assert caught.value.members["reference"] == f"{registry.host}/app@{ARM64.digest}"
    assert not registry.tag_puts


@pytest.mark.parametrize("path", ["/v2/$", "/manifests/", "/blobs/uploads/", "/manifests/1$"])
async def test_a_cancelled_push_leaves_no_task_running(registry: RegistryDouble, path: str) -> None:
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


async def test_several_targets_all_get_the_index(any_registry: AnyRegistry) -> None:
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", STAGED)
        targets = [
            target_at(any_registry, "staging/a", [STAGED], tags=("1", "latest")),
            target_at(any_registry, "staging/b", [STAGED], tags=("2",)),
            target_at(source, "staging/c", [STAGED], tags=("3",)),
        ]
        results = await push(client, targets, [child_at(source, "src", STAGED)], INSECURE)
        for target, result in zip(targets, results, strict=True):
            assert result.tags == dict.fromkeys(target.tags, TagAction.MOVED)
            for tag in target.tags:
                found = await client.fetch_manifest(target.repository.tagged(tag), INSECURE)
                assert found.raw == target.index


@pytest.mark.parametrize("fails", ["blobs", "a manifest", "the index"])
async def test_no_tag_moves_anywhere_when_one_target_can_not_be_staged(
    registry: RegistryDouble, fails: str
) -> None:
    """The other targets are staged to the end, so that the next attempt has less to do."""
    async with RegistryDouble() as closed, connect() as client:
        plant(registry, "src", "1", STAGED)
        targets = [target_at(closed, "app", [STAGED]), target_at(registry, "app", [STAGED])]
        index = str(targets[0].index.digest)
        paths = {"blobs": "/blobs/", "a manifest": f"/{STAGED.digest}", "the index": f"/{index}"}
        closed.misbehave(DENIED, method=None if fails == "blobs" else "PUT", path=paths[fails], times=None)
        with pytest.raises(errors.RegistryDenied):
            await push(client, targets, [child_at(registry, "src", STAGED)], INSECURE)
        assert closed.tags("app") == registry.tags("app") == {}
        assert registry.get_manifest("app", index)
        assert not closed.tag_puts
        assert not registry.tag_puts


async def test_a_target_that_is_slow_keeps_the_tags_of_the_others_waiting(registry: RegistryDouble) -> None:
    hold = Hold()
    plant(registry, "src", "1", STAGED)
    async with RegistryDouble() as slow, connect() as client, asyncio.TaskGroup() as group:
        slow.misbehave(hold, method="PUT", path=f"/manifests/{STAGED.digest}")
        targets = [target_at(registry, "app", [STAGED]), target_at(slow, "app", [STAGED])]
        index = str(targets[0].index.digest)
        group.create_task(push(client, targets, [child_at(registry, "src", STAGED)], INSECURE))
        await registry.until(lambda: bool(registry.received("GET", index)))
        await hold.reached.wait()
        assert registry.tags("app") == {}
        hold.gate.set()
    assert list(registry.tags("app")) == ["1"]


async def test_a_final_failure_is_reported_before_a_passing_one(registry: RegistryDouble) -> None:
    async with RegistryDouble() as busy, RegistryDouble() as closed, connect() as client:
        plant(registry, "src", "1", STAGED)
        busy.misbehave(Status.oci(503, "UNAVAILABLE"), method="POST", times=None)
        closed.misbehave(DENIED, method="POST", times=None)
        targets = [target_at(each, "app", [STAGED]) for each in (busy, closed)]
        with pytest.raises(errors.RegistryDenied):
            await push(client, targets, [child_at(registry, "src", STAGED)], INSECURE)


async def test_a_failed_tag_does_not_stop_the_tags_of_other_targets(registry: RegistryDouble) -> None:
    async with RegistryDouble() as closed, connect() as client:
        plant(registry, "src", "1", STAGED)
        closed.misbehave(DENIED, method="PUT", path="/manifests/1$", times=None)
        told: dict[tuple[Repository, StepName], Step] = {}

        def on_progress(repository: Repository, step: Step) -> None:
            told[repository, step.name] = step

        targets = [target_at(closed, "app", [STAGED]), target_at(registry, "app", [STAGED])]
        with pytest.raises(errors.RegistryDenied):
            await push(client, targets, [child_at(registry, "src", STAGED)], INSECURE, on_progress)
    assert registry.tags("app") == {"1": str(targets[1].index.digest)}
    moved = [told[target.repository, StepName.TAGS].finished for target in targets]
    assert moved == [(), (Finished("1", TagAction.MOVED),)]


async def test_a_failed_tag_does_not_stop_the_other_tags(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", STAGED)
    told: list[Step] = []
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/manifests/slow$")
    registry.misbehave(Status.oci(403, "DENIED"), method="PUT", path="/manifests/closed$", times=None)

    async with connect() as client:
        target = target_at(registry, "app", [STAGED], tags=("closed", "slow"))
        pushing = asyncio.create_task(
            push_one(client, target, [child_at(registry, "src", STAGED)], INSECURE, told.append)
        )
        await registry.until(lambda: bool(registry.received("GET", "/manifests/closed")))
        hold.gate.set()
        with pytest.raises(errors.RegistryDenied):
            await pushing
    assert registry.tags("app") == {"slow": str(target.index.digest)}
    last = {step.name: step for step in told}
    assert last[StepName.TAGS].finished == (Finished("slow", TagAction.MOVED),)


async def test_the_guard_is_asked_once_with_all_staged_and_no_tag_moved(registry: RegistryDouble) -> None:
    async with RegistryDouble() as other, connect() as client:
        asked = RecordingGuard(doubles=[registry, other])
        plant(registry, "src", "1", STAGED)
        plant(other, "app", "1", OTHER)
        targets = [target_at(registry, "app", [STAGED], tags=("1", "2")), target_at(other, "app", [STAGED])]
        results = await push(
            client, targets, [child_at(registry, "src", STAGED)], INSECURE, guard=asked.guard
        )
        (held,) = asked.told
        assert held.digests == {
            reference_at(registry, "app:1"): None,
            reference_at(registry, "app:2"): None,
            reference_at(other, "app:1"): parse_digest(OTHER.digest),
        }
        assert asked.tag_puts == [0, 0]
    assert [result.previous for result in results] == [
        {"1": None, "2": None},
        {"1": parse_digest(OTHER.digest)},
    ]


async def test_a_guard_that_refuses_keeps_all_tags_of_all_targets(registry: RegistryDouble) -> None:
    async with RegistryDouble() as other, connect() as client:
        plant(registry, "src", "1", STAGED)
        targets = [target_at(each, "app", [STAGED]) for each in (registry, other)]
        with pytest.raises(errors.TagMoved):
            await push(
                client,
                targets,
                [child_at(registry, "src", STAGED)],
                INSECURE,
                guard=RecordingGuard(refuses=True).guard,
            )
        assert registry.tags("app") == other.tags("app") == {}


async def test_a_tag_that_the_guard_leaves_stays_and_the_others_move(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", STAGED)
    plant(registry, "app", "latest", OTHER)
    told: list[Step] = []
    target = target_at(registry, "app", [STAGED], tags=("1", "latest"))
    asked = RecordingGuard(target.repository.tagged("latest"))
    async with connect() as client:
        result = await push_one(
            client, target, [child_at(registry, "src", STAGED)], INSECURE, told.append, guard=asked.guard
        )
    assert registry.tags("app") == {"1": str(target.index.digest), "latest": OTHER.digest}
    assert result.tags == {"1": TagAction.MOVED, "latest": TagAction.LEFT}
    assert result.previous == {"1": None, "latest": parse_digest(OTHER.digest)}
    last = {step.name: step for step in told}[StepName.TAGS]
    assert set(last.finished) == {Finished("1", TagAction.MOVED), Finished("latest", TagAction.LEFT)}
    assert (last.done, last.total) == (2, 2)


async def test_a_strict_guard_gets_tags_that_were_read_after_staging(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", STAGED)
    asked = RecordingGuard(is_strict=True)
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        await push_one(client, target, children, INSECURE, guard=asked.guard)
    assert not registry.received("HEAD", "/manifests/1")
    assert last_requests(registry, 4) == [
        ("GET", "1"),
        ("HEAD", STAGED.digest),
        ("PUT", "1"),
        ("GET", "1"),
    ]
    assert [held.digests for held in asked.told] == [{reference_at(registry, "app:1"): None}]


async def test_the_guard_of_a_repeated_push_sees_its_own_index(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", STAGED)
    target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
    asked = RecordingGuard(is_strict=True)
    async with connect() as client:
        await push_one(client, target, children, INSECURE)
        await push_one(client, target, children, INSECURE, guard=asked.guard)
    (held,) = asked.told
    assert held.digests == {reference_at(registry, "app:1"): target.index.digest}


async def test_the_guard_of_a_push_without_tags_gets_an_empty_snapshot(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", STAGED)
    asked = RecordingGuard()
    target = CopyTarget(
        reference_at(registry, "app:1").repository, (), target_at(registry, "app", [STAGED]).index
    )
    async with connect() as client:
        result = await push_one(
            client, target, [child_at(registry, "src", STAGED)], INSECURE, guard=asked.guard
        )
    assert [held.digests for held in asked.told] == [{}]
    assert (result.tags, result.previous) == ({str(target.index.digest): TagAction.MOVED}, {})
    assert [r.path for r in registry.received("PUT", str(target.index.digest))] == [
        f"/v2/app/manifests/{target.index.digest}"
    ]


async def test_a_strict_guard_gets_no_truncated_manifest(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", STAGED)
    plant(registry, "app", "1", OTHER)
    registry.misbehave(Truncated(with_length=False), method="GET", path="/manifests/1$")
    asked = RecordingGuard(is_strict=True)
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        await push_one(client, target, children, INSECURE, guard=asked.guard)
    (held,) = asked.told
    assert list(held.digests.values()) == [parse_digest(OTHER.digest)]
