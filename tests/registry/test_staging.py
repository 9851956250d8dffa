"""Several targets in one push: staged at all of them before any tag moves, and what may keep tags unmoved."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from app import errors
from app.oci import media_types
from app.oci.digest import parse_digest
from app.oci.reference import Reference, Repository
from app.registry.client import Limits, RegistryClient
from app.registry.push.model import (
    BlobCounts,
    CopyTarget,
    Finished,
    Guard,
    Step,
    StepName,
    TagAction,
    TagSnapshot,
)
from app.registry.push.push import push
from tests.support.images import make_image, plant
from tests.support.registry import Hold, MountDeclined, OtherBody, RegistryDouble, Rules, Status, Truncated
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    AnyRegistry,
    child_at,
    push_one,
    reference_at,
    target_at,
)

IMAGE = make_image(seed="staging", layers=3)
OTHER = make_image(seed="other")
DENIED = Status.oci(403, "DENIED")


def connect(limits: Limits = QUICK) -> RegistryClient:
    return RegistryClient(LOOPBACK, limits=limits)


class Asked:
    """A guard that remembers what it was told, and lets go what it is not told to keep."""

    def __init__(
        self,
        *left: Reference,
        refuses: bool = False,
        is_strict: bool = False,
        doubles: Sequence[RegistryDouble] = (),
    ) -> None:
        self.left = left
        self.doubles = doubles
        self.tag_puts: list[int] = []
        self.refuses = refuses
        self.told: list[TagSnapshot] = []
        self.guard = Guard(self._ask, is_strict=is_strict)

    async def _ask(self, held: TagSnapshot) -> Collection[Reference]:
        self.told.append(held)
        self.tag_puts = [len(double.tag_puts) for double in self.doubles]
        if self.refuses:
            raise errors.TagMoved("it holds something else")
        return self.left


def last_requests(double: RegistryDouble, count: int) -> list[tuple[str, str]]:
    return [(r.method, r.path.rsplit("/", 1)[1]) for r in double.journal[-count:]]


# --- all or none ---


async def test_several_targets_all_get_the_index(any_registry: AnyRegistry) -> None:
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", IMAGE)
        targets = [
            target_at(any_registry, "staging/a", [IMAGE], tags=("1", "latest")),
            target_at(any_registry, "staging/b", [IMAGE], tags=("2",)),
            target_at(source, "staging/c", [IMAGE], tags=("3",)),
        ]
        results = await push(client, targets, [child_at(source, "src", IMAGE)], INSECURE)
        for target, result in zip(targets, results, strict=True):
            assert result.tags == dict.fromkeys(target.tags, TagAction.MOVED)
            for tag in target.tags:
                found = await client.fetch_manifest(target.repository.tagged(tag), INSECURE)
                assert found.raw == target.index


@pytest.mark.parametrize("fails", ["blobs", "a manifest", "the index"])
async def test_no_tag_moves_anywhere_when_one_target_can_not_be_staged(
    registry: RegistryDouble, fails: str
) -> None:
    """The others are staged to their end, so that the next attempt has less to do."""
    async with RegistryDouble() as closed, connect() as client:
        plant(registry, "src", "1", IMAGE)
        targets = [target_at(closed, "app", [IMAGE]), target_at(registry, "app", [IMAGE])]
        index = str(targets[0].index.digest)
        paths = {"blobs": "/blobs/", "a manifest": f"/{IMAGE.digest}", "the index": f"/{index}"}
        closed.misbehave(DENIED, method=None if fails == "blobs" else "PUT", path=paths[fails], times=None)
        with pytest.raises(errors.RegistryDenied):
            await push(client, targets, [child_at(registry, "src", IMAGE)], INSECURE)
        assert closed.tags("app") == registry.tags("app") == {}
        assert registry.get_manifest("app", index)
        assert not closed.tag_puts
        assert not registry.tag_puts


async def test_a_target_that_is_slow_keeps_the_tags_of_the_others_waiting(registry: RegistryDouble) -> None:
    hold = Hold()
    plant(registry, "src", "1", IMAGE)
    async with RegistryDouble() as slow, connect() as client, asyncio.TaskGroup() as group:
        slow.misbehave(hold, method="PUT", path=f"/manifests/{IMAGE.digest}")
        targets = [target_at(registry, "app", [IMAGE]), target_at(slow, "app", [IMAGE])]
        index = str(targets[0].index.digest)
        group.create_task(push(client, targets, [child_at(registry, "src", IMAGE)], INSECURE))
        await registry.until(lambda: bool(registry.received("GET", index)))
        await hold.reached.wait()
        assert registry.tags("app") == {}
        hold.gate.set()
    assert list(registry.tags("app")) == ["1"]


async def test_a_failure_that_no_retry_helps_is_told_before_another(registry: RegistryDouble) -> None:
    async with RegistryDouble() as busy, RegistryDouble() as closed, connect() as client:
        plant(registry, "src", "1", IMAGE)
        busy.misbehave(Status.oci(503, "UNAVAILABLE"), method="POST", times=None)
        closed.misbehave(DENIED, method="POST", times=None)
        targets = [target_at(each, "app", [IMAGE]) for each in (busy, closed)]
        with pytest.raises(errors.RegistryDenied):
            await push(client, targets, [child_at(registry, "src", IMAGE)], INSECURE)


async def test_a_tag_that_fails_does_not_cut_off_those_of_other_targets(registry: RegistryDouble) -> None:
    async with RegistryDouble() as closed, connect() as client:
        plant(registry, "src", "1", IMAGE)
        closed.misbehave(DENIED, method="PUT", path="/manifests/1$", times=None)
        told: dict[tuple[Repository, StepName], Step] = {}

        def on_progress(repository: Repository, step: Step) -> None:
            told[repository, step.name] = step

        targets = [target_at(closed, "app", [IMAGE]), target_at(registry, "app", [IMAGE])]
        with pytest.raises(errors.RegistryDenied):
            await push(client, targets, [child_at(registry, "src", IMAGE)], INSECURE, on_progress)
    assert registry.tags("app") == {"1": str(targets[1].index.digest)}
    moved = [told[target.repository, StepName.TAGS].finished for target in targets]
    assert moved == [(), (Finished("1", TagAction.MOVED),)]


async def test_a_tag_that_fails_does_not_cut_off_the_others(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", IMAGE)
    told: list[Step] = []
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/manifests/slow$")
    registry.misbehave(Status.oci(403, "DENIED"), method="PUT", path="/manifests/closed$", times=None)

    async with connect() as client:
        target = target_at(registry, "app", [IMAGE], tags=("closed", "slow"))
        pushing = asyncio.create_task(
            push_one(client, target, [child_at(registry, "src", IMAGE)], INSECURE, told.append)
        )
        await registry.until(lambda: bool(registry.received("GET", "/manifests/closed")))
        hold.gate.set()
        with pytest.raises(errors.RegistryDenied):
            await pushing
    assert registry.tags("app") == {"slow": str(target.index.digest)}
    last = {step.name: step for step in told}
    assert last[StepName.TAGS].finished == (Finished("slow", TagAction.MOVED),)


async def test_children_that_another_target_outlasted_are_looked_at_again(registry: RegistryDouble) -> None:
    """What a registry collected while another was slow is put anew before the tag moves."""
    registry.rules.require_children = False
    hold = Hold()
    plant(registry, "src", "1", IMAGE)
    async with (
        RegistryDouble() as slow,
        connect(replace(QUICK, fresh_seconds=0)) as client,
        asyncio.TaskGroup() as group,
    ):
        slow.misbehave(hold, method="PUT", path=f"/manifests/{IMAGE.digest}")
        targets = [target_at(registry, "app", [IMAGE]), target_at(slow, "app", [IMAGE])]
        index = str(targets[0].index.digest)
        group.create_task(push(client, targets, [child_at(registry, "src", IMAGE)], INSECURE))
        await registry.until(lambda: bool(registry.received("GET", index)))
        registry.content.at("app").delete_manifest(IMAGE.digest)
        hold.gate.set()
    assert [put.missing for put in registry.tag_puts] == [()]


# --- between targets of one registry ---


async def test_what_two_targets_of_a_registry_need_crosses_once(any_registry: AnyRegistry) -> None:
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", IMAGE)
        targets = [target_at(any_registry, f"once/{name}", [IMAGE]) for name in ("a", "b", "c")]
        results = await push(client, targets, [child_at(source, "src", IMAGE)], INSECURE)
        assert len(source.received("GET", "/blobs/")) == len(IMAGE.blobs)
    size = sum(map(len, IMAGE.blobs.values()))
    assert results[0].blobs == BlobCounts(copied=4, bytes_copied=size)
    assert [each.blobs for each in results[1:]] == [BlobCounts(mounted=4)] * 2


async def test_a_target_whose_forerunner_fails_gets_the_blobs_from_their_source(
    registry: RegistryDouble,
) -> None:
    registry.misbehave(DENIED, method="PUT", path=f"/a/manifests/{IMAGE.digest}", times=None)
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", IMAGE)
        targets = [target_at(registry, name, [IMAGE]) for name in ("a", "b")]
        with pytest.raises(errors.RegistryDenied):
            await push(client, targets, [child_at(source, "src", IMAGE)], INSECURE)
    assert not [each for each in registry.received("POST") if "mount" in each.query]
    assert registry.blobs("b") == set(IMAGE.blobs)
    assert registry.get_manifest("b", str(targets[1].index.digest))


async def test_where_nothing_is_mounted_no_target_waits_for_another(registry: RegistryDouble) -> None:
    registry.rules = Rules(anonymous_mount=False)
    registry.misbehave(MountDeclined(405), times=None)
    hold = Hold()
    async with RegistryDouble() as source, connect() as client, asyncio.TaskGroup() as group:
        plant(source, "src", "1", IMAGE)
        plant(registry, "known", "1", OTHER)
        await push_one(
            client, target_at(registry, "x", [OTHER]), [child_at(registry, "known", OTHER)], INSECURE
        )
        registry.misbehave(hold, method="PUT", path=f"/a/manifests/{IMAGE.digest}")
        targets = [target_at(registry, name, [IMAGE]) for name in ("a", "b")]
        group.create_task(push(client, targets, [child_at(source, "src", IMAGE)], INSECURE))
        await registry.until(lambda: bool(registry.received("PUT", f"/b/manifests/{IMAGE.digest}")))
        hold.gate.set()
    assert len(registry.tag_puts) == 3


# --- the guard ---


async def test_the_guard_is_asked_once_with_all_staged_and_no_tag_moved(registry: RegistryDouble) -> None:
    async with RegistryDouble() as other, connect() as client:
        asked = Asked(doubles=[registry, other])
        plant(registry, "src", "1", IMAGE)
        plant(other, "app", "1", OTHER)
        targets = [target_at(registry, "app", [IMAGE], tags=("1", "2")), target_at(other, "app", [IMAGE])]
        results = await push(client, targets, [child_at(registry, "src", IMAGE)], INSECURE, guard=asked.guard)
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
        plant(registry, "src", "1", IMAGE)
        targets = [target_at(each, "app", [IMAGE]) for each in (registry, other)]
        with pytest.raises(errors.TagMoved):
            await push(
                client,
                targets,
                [child_at(registry, "src", IMAGE)],
                INSECURE,
                guard=Asked(refuses=True).guard,
            )
        assert registry.tags("app") == other.tags("app") == {}


async def test_a_tag_that_the_guard_leaves_stays_and_the_others_move(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", IMAGE)
    plant(registry, "app", "latest", OTHER)
    told: list[Step] = []
    target = target_at(registry, "app", [IMAGE], tags=("1", "latest"))
    asked = Asked(target.repository.tagged("latest"))
    async with connect() as client:
        result = await push_one(
            client, target, [child_at(registry, "src", IMAGE)], INSECURE, told.append, guard=asked.guard
        )
    assert registry.tags("app") == {"1": str(target.index.digest), "latest": OTHER.digest}
    assert result.tags == {"1": TagAction.MOVED, "latest": TagAction.LEFT}
    assert result.previous == {"1": None, "latest": parse_digest(OTHER.digest)}
    last = {step.name: step for step in told}[StepName.TAGS]
    assert set(last.finished) == {Finished("1", TagAction.MOVED), Finished("latest", TagAction.LEFT)}
    assert (last.done, last.total) == (2, 2)


async def test_what_a_tag_holds_is_read_once_beside_the_copying(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", IMAGE)
    asked = Asked()
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        await push_one(client, target, children, INSECURE, guard=asked.guard)
    assert len(registry.received("HEAD", "/manifests/1")) == 1
    assert last_requests(registry, 3) == [("PUT", IMAGE.digest), ("PUT", "1"), ("GET", "1")]


async def test_a_strict_guard_is_told_what_tags_hold_when_all_is_staged(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", IMAGE)
    asked = Asked(is_strict=True)
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        await push_one(client, target, children, INSECURE, guard=asked.guard)
    assert not registry.received("HEAD", "/manifests/1")
    assert last_requests(registry, 3) == [("GET", "1"), ("PUT", "1"), ("GET", "1")]
    assert [held.digests for held in asked.told] == [{reference_at(registry, "app:1"): None}]


async def test_what_was_read_long_ago_is_read_again(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", IMAGE)
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(OtherBody(OTHER.raw), method="GET", path="/manifests/1$")
    asked = Asked()
    async with connect(replace(QUICK, snapshot_seconds=0)) as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        result = await push_one(client, target, children, INSECURE, guard=asked.guard)
    assert list(asked.told[0].digests.values()) == [parse_digest(OTHER.digest)]
    assert result.previous == {"1": parse_digest(OTHER.digest)}


@pytest.mark.parametrize("is_strict", [False, True])
async def test_a_tag_that_may_not_be_read_counts_as_none_unless_the_guard_is_strict(
    registry: RegistryDouble, is_strict: bool
) -> None:
    """Some registries answer 403 for what does not exist, but nobody's condition can rest on that."""
    plant(registry, "src", "1", IMAGE)
    if not is_strict:
        registry.misbehave(DENIED, method="HEAD", path="/manifests/1$", times=None)
    registry.misbehave(DENIED, method="GET", path="/manifests/1$", times=2 if not is_strict else None)
    asked = Asked(is_strict=is_strict)
    async with connect(replace(QUICK, snapshot_seconds=0)) as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        pushing = push_one(client, target, children, INSECURE, guard=asked.guard)
        if is_strict:
            with pytest.raises(errors.RegistryDenied):
                await pushing
            assert not registry.tag_puts
        else:
            assert (await pushing).previous == {"1": None}


async def test_a_repeated_push_tells_the_guard_that_its_own_index_is_there(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", IMAGE)
    target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
    asked = Asked(is_strict=True)
    async with connect() as client:
        await push_one(client, target, children, INSECURE)
        await push_one(client, target, children, INSECURE, guard=asked.guard)
    (held,) = asked.told
    assert held.digests == {reference_at(registry, "app:1"): target.index.digest}


async def test_a_push_without_any_tag_asks_with_nothing(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", IMAGE)
    asked = Asked()
    target = CopyTarget(
        reference_at(registry, "app:1").repository, (), target_at(registry, "app", [IMAGE]).index
    )
    async with connect() as client:
        result = await push_one(
            client, target, [child_at(registry, "src", IMAGE)], INSECURE, guard=asked.guard
        )
    assert [held.digests for held in asked.told] == [{}]
    assert (result.tags, result.previous) == ({}, {})
    assert [r.path for r in registry.received("PUT", str(target.index.digest))] == [
        f"/v2/app/manifests/{target.index.digest}"
    ]


async def test_a_strict_guard_is_not_told_of_what_was_cut_off(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", IMAGE)
    plant(registry, "app", "1", OTHER)
    registry.misbehave(Truncated(with_length=False), method="GET", path="/manifests/1$")
    asked = Asked(is_strict=True)
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        await push_one(client, target, children, INSECURE, guard=asked.guard)
    (held,) = asked.told
    assert list(held.digests.values()) == [parse_digest(OTHER.digest)]


async def test_a_tag_that_holds_an_image_of_the_first_schema_can_be_moved(registry: RegistryDouble) -> None:
    """Its digest is not that of its bytes, which are signed."""
    plant(registry, "src", "1", IMAGE)
    headers = {"Content-Type": media_types.DOCKER_SCHEMA1_SIGNED, "Docker-Content-Digest": OTHER.digest}
    registry.misbehave(Status(200, b"", headers), method="HEAD", path="/manifests/1$")
    registry.misbehave(Status(200, b'{"schemaVersion":1}', headers), method="GET", path="/manifests/1$")
    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        await push_one(client, target, children, INSECURE)
    assert registry.tags("app") == {"1": str(target.index.digest)}
