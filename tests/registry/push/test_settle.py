"""Manifests are put again until the registry sees the content that it took."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from app import errors
from app.registry.client import Limits
from app.registry.push.model import (
    BlobCounts,
)
from app.registry.push.settle import patience, wait
from tests.support.images import plant
from tests.support.pushes import AMD64, SETTLING, check_whole, puts_of
from tests.support.registry import (
    Hold,
    RegistryDouble,
    Status,
)
from tests.support.registry_clients import (
    INSECURE,
    QUICK,
    child_at,
    connect,
    push_one,
    target_at,
)

LACKS_BLOBS = Status.oci(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")


async def test_no_blob_is_sent_again_before_it_was_waited_for(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    registry.misbehave(LACKS_BLOBS, method="PUT", path="/manifests/", times=1)
    target, children = target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)]
    async with connect(SETTLING) as client:
        result = await push_one(client, target, children, INSECURE)
    assert result.blobs == BlobCounts(mounted=3)


async def test_blobs_that_were_sent_whole_are_waited_for_and_not_sent_again(
    registry: RegistryDouble,
) -> None:
    registry.misbehave(LACKS_BLOBS, method="PUT", path="/manifests/", times=3)
    async with RegistryDouble() as source, connect(SETTLING) as client:
        plant(source, "src", "1", AMD64)
        target, children = target_at(registry, "app", [AMD64]), [child_at(source, "src", AMD64)]
        result = await push_one(client, target, children, INSECURE)
        assert [len(source.received("GET", digest)) for digest in AMD64.blobs] == [1, 1, 1]
    assert result.blobs.copied == 3


async def test_a_registry_that_never_finds_its_blobs_fails_the_push(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    registry.misbehave(LACKS_BLOBS, method="PUT", path="/manifests/", times=None)
    target, children = target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)]
    async with connect(SETTLING) as client:
        with pytest.raises(errors.RegistryRejected):
            await push_one(client, target, children, INSECURE)
    assert puts_of(registry, AMD64.digest) == 4
    assert not registry.tags("app")


async def test_a_manifest_refused_for_another_reason_is_put_once(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    registry.misbehave(Status.oci(400, "MANIFEST_INVALID"), method="PUT", path="/manifests/", times=None)
    target, children = target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)]
    async with connect(SETTLING) as client:
        with pytest.raises(errors.RegistryRejected):
            await push_one(client, target, children, INSECURE)
    assert puts_of(registry, AMD64.digest) == 1


async def test_blobs_that_a_registry_does_not_know_yet_are_waited_for(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    late = Status.oci(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
    rule = registry.misbehave(late, method="PUT", path="/manifests/", times=2)
    target = target_at(registry, "app", [AMD64])
    async with connect() as client:
        await push_one(client, target, [child_at(registry, "src", AMD64)], INSECURE)
    assert rule.hits == 2
    await check_whole(registry, target, [AMD64])


DISPUTED = Status.oci(400, "DIGEST_INVALID", "provided digest did not match uploaded content")


@pytest.mark.parametrize("status", [400, 404, 422])
@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", f"/manifests/{AMD64.digest}"), ("PUT", "/manifests/1$"), ("PUT", "/blobs/uploads/")],
    ids=["a manifest", "the tag", "a blob"],
)
async def test_a_registry_that_disputes_a_digest_is_asked_again(
    registry: RegistryDouble, status: int, method: str, path: str
) -> None:
    rule = registry.misbehave(replace(DISPUTED, code=status), method=method, path=path, times=2)
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", AMD64)
        target = target_at(registry, "app", [AMD64])
        await push_one(client, target, [child_at(source, "src", AMD64)], INSECURE)
    assert rule.hits == 2
    await check_whole(registry, target, [AMD64])


@pytest.mark.parametrize("path", [f"/manifests/{AMD64.digest}", "/blobs/uploads/"])
async def test_a_registry_that_disputes_a_digest_each_time_fails_the_push(
    registry: RegistryDouble, path: str
) -> None:
    rule = registry.misbehave(DISPUTED, method="PUT", path=path, times=None)
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", AMD64)
        target = target_at(registry, "app", [AMD64])
        with pytest.raises(errors.RegistryRejected, match="DIGEST_INVALID"):
            await push_one(client, target, [child_at(source, "src", AMD64)], INSECURE)
    assert rule.hits <= QUICK.attempts * len(AMD64.blobs)


@pytest.mark.parametrize(("tenants", "at_once"), [(("", ""), 1), (("a", "b"), 2)])
async def test_identical_puts_of_one_tenant_take_turns(
    registry: RegistryDouble, tenants: tuple[str, str], at_once: int
) -> None:
    plant(registry, "src", "1", AMD64)
    hold = Hold()
    path = f"/app/manifests/{AMD64.digest}"
    registry.misbehave(hold, method="PUT", path=path, times=None)
    target, children = target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)]
    async with connect() as client, asyncio.TaskGroup() as group:
        for tenant in tenants:
            group.create_task(push_one(client, target, children, replace(INSECURE, tenant=tenant)))
        await registry.until(lambda: len(registry.received("PUT", path)) == at_once)
        await registry.until(lambda: len(registry.received("HEAD", path)) == len(tenants))
        await asyncio.sleep(0.05)
        assert len(registry.received("PUT", path)) == at_once
        hold.gate.set()
    assert len(registry.received("PUT", path)) == len(tenants)


async def test_a_blob_that_another_push_has_just_brought_is_not_sent_again(registry: RegistryDouble) -> None:
    async with RegistryDouble() as source, connect() as client, asyncio.TaskGroup() as group:
        plant(source, "src", "1", AMD64)
        for tag in ("1", "2", "3"):
            target = target_at(registry, "app", [AMD64], tags=(tag,))
            group.create_task(push_one(client, target, [child_at(source, "src", AMD64)], INSECURE))
    assert [len(source.received("GET", digest)) for digest in AMD64.blobs] == [1, 1, 1]


async def test_waiting_ends_with_the_last_attempt() -> None:
    limits = patience(SETTLING)

    assert [await wait(attempt, may_pass=True, limits=limits) for attempt in (1, 2, 3, 4)] == [
        True,
        True,
        True,
        False,
    ]


async def test_a_refusal_that_does_not_pass_is_not_waited_for() -> None:
    assert not await wait(1, may_pass=False, limits=patience(SETTLING))


def test_patience_replaces_the_limits_of_retries_and_no_others() -> None:
    limits = patience(Limits(attempts=2, settle_attempts=9, settle_seconds=3.0, longest_settle_seconds=30.0))

    assert limits == replace(
        Limits(settle_attempts=9, settle_seconds=3.0, longest_settle_seconds=30.0),
        attempts=9,
        backoff_seconds=3.0,
        longest_backoff_seconds=30.0,
    )
