"""A manifest with a subject is listed as its referrer: by the registry, or else by the broker in a tag."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest

from app import errors
from app.oci.digest import parse_digest
from app.oci.manifest import Manifest
from app.oci.referrers import referrers_tag
from app.registry.push.model import CopyTarget
from app.registry.push.push import dry_run
from tests.support.images import (
    OCI_INDEX,
    Image,
    ImageIndex,
    make_image,
    make_index,
    make_referrer,
    plant,
    seed,
)
from tests.support.registry import Hold, LostReply, OtherBody, RegistryDouble, Status, WithoutHeader
from tests.support.registry_clients import (
    INSECURE,
    QUICK,
    AnyRegistry,
    child_at,
    connect,
    push_one,
    repository_at,
)

IMAGE = make_image(media="oci", seed="in the index")
ABOUT = make_image(media="oci", seed="the subject")
TAG = referrers_tag(parse_digest(ABOUT.digest))
TYPE = "application/vnd.example.bundle"
INDEX = make_index(
    [IMAGE],
    extra={"artifactType": TYPE, "subject": ABOUT.descriptor()},
    annotations={"org.example.by": "the broker"},
)


def goal(registry: AnyRegistry, path: str, *tags: str, index: ImageIndex = INDEX) -> CopyTarget:
    return CopyTarget(repository_at(registry, path), tags, Manifest.of(index.media_type, index.raw))


def tag_of(double: RegistryDouble) -> list[str]:
    """The entries of the referrers tag."""
    media_type, raw = double.get_manifest("app", TAG)
    assert media_type == OCI_INDEX
    return [each["digest"] for each in json.loads(raw)["manifests"]]


async def listed(
    registry: AnyRegistry, path: str, subject: Image = ABOUT
) -> list[tuple[str, str | None, dict[str, str]]]:
    async with connect() as client:
        repository = repository_at(registry, path)
        found = await client.list_referrers(repository, parse_digest(subject.digest), INSECURE)
    return [(str(each.digest), each.artifact_type, dict(each.annotations)) for each in found]


@pytest.mark.parametrize("tags", [(), ("1",), ("1", "2", "3")])
async def test_an_index_with_a_subject_is_listed_as_its_referrer(
    any_registry: AnyRegistry, tags: tuple[str, ...]
) -> None:
    path = f"subject/{uuid.uuid4().hex}"
    await seed(any_registry, f"{path}/src", "1", IMAGE)
    async with connect() as client:
        target = goal(any_registry, f"{path}/app", *tags)
        await push_one(client, target, [child_at(any_registry, f"{path}/src", IMAGE)], INSECURE)
    assert await listed(any_registry, f"{path}/app") == [
        (INDEX.digest, TYPE, {"org.example.by": "the broker"})
    ]


async def test_a_registry_that_lists_the_referrer_itself_gets_no_tag(registry: RegistryDouble) -> None:
    plant(registry, "app", "x", IMAGE)
    async with connect() as client:
        await push_one(client, goal(registry, "app", "1"), [child_at(registry, "app", IMAGE)], INSECURE)
    assert set(registry.tags("app")) == {"x", "1"}
    assert not registry.received(path="/referrers/")


@pytest.mark.parametrize("tags", [("1",), ("1", "2", "3")])
async def test_the_tag_is_read_written_and_read_back_three_times(
    registry: RegistryDouble, tags: tuple[str, ...]
) -> None:
    registry.rules.referrers_api = False
    plant(registry, "app", "x", IMAGE)
    async with connect() as client:
        await push_one(client, goal(registry, "app", *tags), [child_at(registry, "app", IMAGE)], INSECURE)
    asked = [(r.method, r.status) for r in registry.received(path=f"/manifests/{TAG}")]
    assert asked == [("GET", 404), ("PUT", 201), *[("GET", 200)] * 3]
    assert tag_of(registry) == [INDEX.digest]
    assert not registry.received(path="/referrers/")


async def test_a_listed_referrer_is_not_written_again(registry: RegistryDouble) -> None:
    registry.rules.referrers_api = False
    plant(registry, "app", "x", IMAGE)
    async with connect() as client:
        for _ in range(2):
            await push_one(client, goal(registry, "app", "1"), [child_at(registry, "app", IMAGE)], INSECURE)
    assert len(registry.received("PUT", f"/manifests/{TAG}")) == 1


async def test_entries_of_other_writers_stay(registry: RegistryDouble) -> None:
    registry.rules.referrers_api = False
    signature = make_referrer(ABOUT)
    plant(registry, "app", TAG, make_index([signature]))
    plant(registry, "app", "x", IMAGE)
    async with connect() as client:
        await push_one(client, goal(registry, "app", "1"), [child_at(registry, "app", IMAGE)], INSECURE)
    assert tag_of(registry) == [signature.digest, INDEX.digest]


async def test_a_child_with_a_subject_is_listed_too(any_registry: AnyRegistry) -> None:
    """BuildKit's attestations are such children when they are artifacts."""
    path = f"subject/{uuid.uuid4().hex}"
    attestation = make_referrer(IMAGE, artifact_type=TYPE)
    for each in (IMAGE, attestation):
        await seed(any_registry, f"{path}/src", None, each)
    children = [child_at(any_registry, f"{path}/src", each) for each in (IMAGE, attestation)]
    async with connect() as client:
        index = make_index([IMAGE, attestation])
        await push_one(client, goal(any_registry, f"{path}/app", "1", index=index), children, INSECURE)
    assert await listed(any_registry, f"{path}/app", IMAGE) == [(attestation.digest, TYPE, {})]


async def test_pushes_that_list_at_the_same_time_all_end_up_listed(registry: RegistryDouble) -> None:
    """Within one process; a change by another writer is detected and repaired."""
    registry.rules.referrers_api = False
    plant(registry, "app", "x", IMAGE)
    indexes = [make_index([IMAGE], extra={"subject": ABOUT.descriptor(), "n": n}) for n in range(8)]
    async with connect() as client, asyncio.TaskGroup() as group:
        for number, index in enumerate(indexes):
            target = goal(registry, "app", str(number), index=index)
            group.create_task(push_one(client, target, [child_at(registry, "app", IMAGE)], INSECURE))
    assert sorted(tag_of(registry)) == sorted(each.digest for each in indexes)
    assert len(registry.received("PUT", f"/manifests/{TAG}")) == len(indexes)


@pytest.mark.parametrize("reads", [1, 2, 3], ids=["before it was read back", "after that", "a moment later"])
async def test_a_write_of_another_that_came_between_is_kept(registry: RegistryDouble, reads: int) -> None:
    registry.rules.referrers_api = False
    plant(registry, "app", "x", IMAGE)
    other = make_referrer(ABOUT, seed="from elsewhere")
    hold = Hold()
    registry.misbehave(hold, method="GET", path=f"/manifests/{TAG}", after=reads)
    async with connect() as client, asyncio.TaskGroup() as group:
        target, children = goal(registry, "app", "1"), [child_at(registry, "app", IMAGE)]
        group.create_task(push_one(client, target, children, INSECURE))
        await hold.reached.wait()
        # The other writer read the tag before our entry, and writes it now.
        plant(registry, "app", TAG, make_index([other]))
        hold.gate.set()
    assert tag_of(registry) == [other.digest, INDEX.digest]


async def test_processes_that_list_at_the_same_time_all_end_up_listed(registry: RegistryDouble) -> None:
    registry.rules.referrers_api = False
    plant(registry, "app", "x", IMAGE)
    indexes = [make_index([IMAGE], extra={"subject": ABOUT.descriptor(), "n": n}) for n in range(2)]
    hold = Hold()
    registry.misbehave(hold, method="PUT", path=f"/manifests/{TAG}")
    limits = replace(QUICK, backoff_seconds=0.2, longest_backoff_seconds=0.2)
    async with connect(limits) as one, connect(limits) as other, asyncio.TaskGroup() as group:
        for number, (client, index) in enumerate(zip((one, other), indexes, strict=True)):
            target = goal(registry, "app", str(number), index=index)
            group.create_task(push_one(client, target, [child_at(registry, "app", IMAGE)], INSECURE))
            if client is one:
                # The first has read the tag, and writes it after the second.
                await hold.reached.wait()
        await registry.until(lambda: len(registry.received("GET", f"/manifests/{TAG}")) >= 3)
        hold.gate.set()
    assert sorted(tag_of(registry)) == sorted(each.digest for each in indexes)


async def test_a_referrers_tag_that_loses_its_entries_fails_the_push(registry: RegistryDouble) -> None:
    registry.rules.referrers_api = False
    plant(registry, "app", "x", IMAGE)
    registry.misbehave(Status(201), method="PUT", path=f"/manifests/{TAG}", times=None)
    async with connect() as client:
        with pytest.raises(errors.PushNotVerified) as caught:
            await push_one(client, goal(registry, "app", "1"), [child_at(registry, "app", IMAGE)], INSECURE)
    assert caught.value.members["reference"] == f"{registry.host}/app:{TAG}"
    assert len(registry.received("PUT", f"/manifests/{TAG}")) == QUICK.attempts


@pytest.mark.parametrize("holds", ["an image", "the subject"])
async def test_a_tag_that_holds_something_else_is_not_overwritten(
    registry: RegistryDouble, holds: str
) -> None:
    registry.rules.referrers_api = False
    plant(registry, "app", "x", IMAGE)
    about = make_index([IMAGE]) if holds == "the subject" else ABOUT
    tag = referrers_tag(parse_digest(about.digest))
    plant(registry, "app", tag, about)
    index = make_index([IMAGE], extra={"subject": about.descriptor()})
    async with connect() as client:
        with pytest.raises(errors.RegistryRejected):
            await push_one(
                client, goal(registry, "app", "1", index=index), [child_at(registry, "app", IMAGE)], INSECURE
            )
    assert registry.tags("app")[tag] == about.digest


@pytest.mark.parametrize("has_api", [True, False])
async def test_after_a_lost_answer_the_list_is_read_first(registry: RegistryDouble, has_api: bool) -> None:
    registry.rules.referrers_api = has_api
    plant(registry, "app", "x", IMAGE)
    registry.misbehave(LostReply(), method="PUT", path="/manifests/1$", times=QUICK.attempts)
    async with connect() as client:
        await push_one(client, goal(registry, "app", "1"), [child_at(registry, "app", IMAGE)], INSECURE)
    assert (TAG in registry.tags("app")) is not has_api
    assert [digest for digest, _, _ in await listed(registry, "app")] == [INDEX.digest]


async def test_without_the_header_the_tag_is_written_even_if_the_api_lists_it(
    registry: RegistryDouble,
) -> None:
    """The spec requires it, and readers of either list find the entry."""
    plant(registry, "app", "x", IMAGE)
    registry.misbehave(WithoutHeader("OCI-Subject"), method="PUT", times=None)
    async with connect() as client:
        await push_one(client, goal(registry, "app", "1"), [child_at(registry, "app", IMAGE)], INSECURE)
    assert tag_of(registry) == [INDEX.digest]


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_image(media="docker", extra={"subject": ABOUT.descriptor()}),
        lambda: make_image(media="oci", extra={"annotations": {"subject": "x"}}),
    ],
)
async def test_a_manifest_that_only_mentions_a_subject_is_not_listed(
    registry: RegistryDouble, make: Callable[[], Image]
) -> None:
    """Docker's manifests have no subject, and the word may occur elsewhere."""
    image = make()
    registry.rules.referrers_api = False
    plant(registry, "src", None, image)
    async with connect() as client:
        await push_one(
            client,
            goal(registry, "app", "1", index=make_index([image])),
            [child_at(registry, "src", image)],
            INSECURE,
        )
    assert set(registry.tags("app")) == {"1"}


async def test_a_dry_run_writes_no_tag(registry: RegistryDouble) -> None:
    registry.rules.referrers_api = False
    attestation = make_referrer(ABOUT)
    plant(registry, "src", None, attestation)
    async with connect() as client:
        target = goal(registry, "app", "1", index=make_index([attestation]))
        await dry_run(client, [target], [child_at(registry, "src", attestation)], INSECURE)
    assert {r.method for r in registry.journal} <= {"GET", "HEAD"}


async def test_a_list_of_referrers_that_can_not_be_read_is_not_replaced(
    registry: RegistryDouble,
) -> None:
    registry.rules.referrers_api = False
    plant(registry, "app", "x", IMAGE)
    plant(registry, "app", TAG, make_index([make_referrer(ABOUT)]))
    deep = b'{"schemaVersion":2,"manifests":[],"x":' + b"[" * 99 + b"]" * 99 + b"}"
    registry.misbehave(OtherBody(deep), method="GET", path=f"/manifests/{TAG}", times=None)
    async with connect() as client:
        with pytest.raises(errors.BrokerError):
            await push_one(client, goal(registry, "app", "1"), [child_at(registry, "app", IMAGE)], INSECURE)
    assert not registry.received("PUT", f"/manifests/{TAG}")
