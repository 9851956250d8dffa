"""How much of a blob is sent at once to a registry that takes less."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from app import errors
from app.registry.capabilities import Capabilities, RepositoryCapabilities
from app.registry.client import Limits, RegistryClient
from app.registry.learned import LearnedKey
from app.registry.push.body_sizes import Body, BodySizes
from tests.support.blob_transfers import (
    LARGE_IMAGE,
    LARGE_SIZE,
    MIB,
    SMALL_IMAGE,
    UPLOAD,
    check_arrived,
    check_truthful,
    copy_large,
    copy_small,
)
from tests.support.fault_table.faults import TooLarge
from tests.support.images import make_image, plant
from tests.support.registry import (
    CutUpload,
    RegistryDouble,
    Rules,
    Status,
    WithHeaders,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    Clock,
    child_at,
    push_one,
    target_at,
)


async def test_a_registry_that_refuses_large_bodies_gets_chunks_from_then_on(
    source: RegistryDouble,
) -> None:
    images = LARGE_IMAGE, make_image(layers=[LARGE_SIZE], seed="another")
    async with (
        RegistryDouble(rules=Rules(max_chunk=4 * MIB)) as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        for image in images:
            plant(source, "src", image.digest, image)
            double.forget()
            target, children = target_at(double, "dst", [image]), [child_at(source, "src", image)]
            await push_one(client, target, children, INSECURE)
            assert double.blobs("dst") >= set(image.blobs)
        assert [r.body_size for r in double.received("PATCH")] == [3 * MIB + 8, 3 * MIB + 8, 1]
        assert 413 not in {r.status for r in double.journal}


async def test_the_body_limit_of_a_registry_is_found(source: RegistryDouble) -> None:
    async with RegistryDouble(rules=Rules(max_chunk=MIB)) as double:
        _, told = await copy_large(source, double)
        assert {r.status for r in double.received("PATCH")} == {202, 413}
        assert max(r.body_size for r in double.journal) <= MIB
        check_truthful(told)
        check_arrived(double)


async def test_a_range_too_large_for_a_patch_is_made_smaller(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """GHCR accepts whole blobs, but at most 4 MiB by PATCH, and answers 416 to more."""
    registry.misbehave(CutUpload(MIB), method="PUT", path=UPLOAD)
    registry.misbehave(Status(416), method="PATCH", path=UPLOAD)
    await copy_large(source, registry)
    sizes = [r.body_size for r in registry.received("PATCH")]
    assert sizes[0] == 0
    assert max(sizes) <= 4 * MIB
    check_arrived(registry)


async def test_a_whole_blob_refused_as_a_range_is_sent_in_chunks(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(TooLarge(4 * MIB, 416), times=None)
    await copy_large(source, registry)
    assert max(r.body_size for r in registry.received("PATCH")) <= 4 * MIB
    check_arrived(registry)


async def test_chunks_are_not_smaller_than_the_registrys_minimum(source: RegistryDouble) -> None:
    async with RegistryDouble(rules=Rules(max_chunk=5 * MIB)) as double:
        least = WithHeaders({"OCI-Chunk-Min-Length": str(5 * MIB)})
        double.misbehave(least, method="POST", path="/uploads/$", times=None)
        await copy_large(source, double)
        taken = [r.body_size for r in double.received("PATCH") if r.status == 202]
        assert taken == [5 * MIB, LARGE_SIZE - 5 * MIB]
        check_arrived(double)


async def test_a_registry_whose_chunk_limits_contradict_each_other_fails_the_copy(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(TooLarge(512, 413), times=None)
    registry.misbehave(
        WithHeaders({"OCI-Chunk-Min-Length": "700"}), method="POST", path="/uploads/$", times=None
    )
    with pytest.raises(errors.RegistryRejected):
        await copy_small(source, registry)
    assert len(registry.received(path="/uploads/")) < 20


async def test_an_end_that_is_refused_as_too_large_is_not_asked_for_with_less(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """The request has no body that could be smaller."""
    registry.misbehave(TooLarge(512, 413), times=None)
    registry.misbehave(TooLarge(-1, 413), method="PUT", path=UPLOAD, times=None)
    with pytest.raises(errors.RegistryRejected):
        await copy_small(source, registry)
    whole_and_end = 2
    assert len(registry.received("PUT", "/uploads/")) <= whole_and_end * len(SMALL_IMAGE.blobs)


async def test_one_416_to_a_small_blob_changes_no_size(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(Status.oci(416, "RANGE_INVALID", "resumed at wrong offset"), method="PUT", path=UPLOAD)
    await copy_small(source, registry)
    assert not registry.received("PATCH")


async def test_a_413_of_one_repository_does_not_affect_another(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    full = "/v2/full" + UPLOAD
    registry.misbehave(Status.oci(413, "DENIED", "quota"), path=full, times=None)
    plant(source, "src", "1", SMALL_IMAGE)
    children = [child_at(source, "src", SMALL_IMAGE)]
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, least_remembered_body=1)) as client:
        with pytest.raises(errors.RegistryRejected):
            await push_one(client, target_at(registry, "full", [SMALL_IMAGE]), children, INSECURE)
        assert registry.received("PATCH")
        registry.forget()
        await push_one(client, target_at(registry, "dst", [SMALL_IMAGE]), children, INSECURE)
    assert not registry.received("PATCH")


async def test_the_remembered_body_limit_is_at_least_a_mebibyte(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    other = make_image(layers=[5000], seed="other")
    plant(source, "src", "1", SMALL_IMAGE)
    plant(source, "other", "1", other)
    async with RegistryClient(LOOPBACK, limits=QUICK) as client:
        rule = registry.misbehave(TooLarge(512, 413), times=None)
        goal = target_at(registry, "dst", [SMALL_IMAGE])
        await push_one(client, goal, [child_at(source, "src", SMALL_IMAGE)], INSECURE)
        rule.stop()
        registry.forget()
        goal = target_at(registry, "dst", [other])
        await push_one(client, goal, [child_at(source, "other", other)], INSECURE)
    assert not registry.received("PATCH")


LIMITS = Limits(chunk_bytes=4 * MIB, resume_bytes=MIB, least_remembered_body=MIB)
WHOLE = Body("PUT", 6 * MIB)


def remembered() -> RepositoryCapabilities:
    return Capabilities(600, Clock()).of(LearnedKey("reg.test", insecure=False, account="ann", path="app"))


def learn(capabilities: RepositoryCapabilities | None = None) -> BodySizes:
    return BodySizes(capabilities or remembered(), LIMITS)


def test_without_a_refusal_any_size_is_sent() -> None:
    assert learn().largest("PUT") == learn().largest("PATCH") == sys.maxsize


def test_a_413_shrinks_the_body_to_a_chunk_and_then_by_halves() -> None:
    sizes, sent = learn(), [20 * MIB]
    while sizes.shrink(413, Body("PUT", sent[-1]), least=MIB):
        sent.append(sizes.largest("PUT"))

    assert sent == [20 * MIB, 4 * MIB, 2 * MIB, MIB]


@pytest.mark.parametrize("status", [400, 403, 416, 500])
def test_other_refusals_of_a_chunk_change_no_size(status: int) -> None:
    sizes = learn()

    assert not sizes.shrink(status, Body("PATCH", 6 * MIB), least=0)
    assert sizes.chunk == sys.maxsize


def test_only_the_second_416_of_a_large_whole_blob_means_that_it_is_too_large() -> None:
    sizes = learn()

    assert [sizes.shrink(416, WHOLE, least=0) for _ in range(2)] == [False, True]
    assert sizes.largest("PUT") == 3 * MIB


def test_a_chunk_has_at_least_256_bytes() -> None:
    assert not learn().shrink(413, Body("PATCH", 256), least=0)


def test_a_chunk_is_little_more_than_the_registry_kept() -> None:
    sizes = learn()
    sizes.record_kept(100)

    assert sizes.chunk == MIB
    assert sizes.largest("PUT") == sys.maxsize


def test_limits_are_remembered_for_others_after_success_alone() -> None:
    capabilities = remembered()
    sizes = learn(capabilities)
    sizes.shrink(413, WHOLE, least=0)
    assert learn(capabilities).largest("PUT") == sys.maxsize

    sizes.record_success()
    assert learn(capabilities).largest("PUT") == 3 * MIB


def test_no_limit_below_a_mebibyte_is_remembered() -> None:
    capabilities = remembered()
    sizes = learn(capabilities)
    sizes.shrink(413, Body("PUT", 1000), least=0)
    sizes.record_success()

    assert sizes.largest("PUT") == 500
    assert learn(capabilities).largest("PUT") == MIB
