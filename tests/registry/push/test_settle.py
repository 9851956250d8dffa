"""Manifests are put again until the registry sees the content that it took."""

from __future__ import annotations

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
    RegistryDouble,
    Status,
)
from tests.support.registry_clients import (
    INSECURE,
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
