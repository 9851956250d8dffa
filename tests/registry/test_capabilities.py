"""The memory of what registries support."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.registry.capabilities import Capabilities, MountSupport
from app.registry.client import Access, RegistryClient
from app.registry.learned import LearnedKey
from tests.support.blob_transfers import LARGE_IMAGE
from tests.support.fault_table.faults import TooLarge
from tests.support.images import Image, make_image, plant
from tests.support.registry import Fault, MountDeclined, RegistryDouble, Status
from tests.support.registry_clients import (
    INSECURE,
    Clock,
    child_at,
    connect,
    manifest_of,
    push_one,
    reference_at,
    repository_at,
    target_at,
)

KEY = LearnedKey("r.example", insecure=False, account="ann", path="dst")
OTHERS = [
    replace(KEY, registry="other.example"),
    replace(KEY, insecure=True),
    replace(KEY, account="bob"),
    replace(KEY, path="other"),
]


def test_a_registry_supports_everything_until_it_shows_otherwise() -> None:
    capabilities = Capabilities(600, Clock()).of(KEY)

    assert capabilities.support_head
    assert capabilities.support_referrers
    assert capabilities.largest_body("PUT") is None
    assert capabilities.mount_support("src") is MountSupport.GRANTED


@pytest.mark.parametrize("other", OTHERS)
def test_one_accounts_answers_for_one_repository_teach_nothing_to_others(other: LearnedKey) -> None:
    memory = Capabilities(600, Clock())
    learnt, unlearnt = memory.of(KEY), memory.of(other)
    learnt.record_no_head()
    learnt.record_no_referrers()
    learnt.record_largest_body("PUT", 1024)
    learnt.record_mount(MountSupport.REFUSED, "src")

    assert not learnt.support_head
    assert not learnt.support_referrers
    assert learnt.mount_support("another source") is MountSupport.REFUSED
    assert unlearnt.support_head
    assert unlearnt.support_referrers
    assert unlearnt.largest_body("PUT") is None
    assert unlearnt.mount_support("src") is MountSupport.GRANTED


def test_the_smallest_body_limit_counts() -> None:
    """Blobs that are copied at the same time learn limits in any order."""
    capabilities = Capabilities(600, Clock()).of(KEY)
    for size in (4096, 1024, 2048):
        capabilities.record_largest_body("PUT", size)

    assert capabilities.largest_body("PUT") == 1024
    assert capabilities.largest_body("PATCH") is None


def test_a_body_limit_expires() -> None:
    clock = Clock()
    capabilities = Capabilities(600, clock).of(KEY)
    capabilities.record_largest_body("PUT", 1024)
    clock.pass_by(599)
    assert capabilities.largest_body("PUT") == 1024

    clock.pass_by(1)
    assert capabilities.largest_body("PUT") is None

    capabilities.record_largest_body("PUT", 4096)
    assert capabilities.largest_body("PUT") == 4096


def test_a_registry_without_head_is_asked_again_after_a_while() -> None:
    clock = Clock()
    capabilities = Capabilities(600, clock).of(KEY)
    capabilities.record_no_head()

    assert not capabilities.support_head
    clock.pass_by(600)
    assert capabilities.support_head


def test_a_refused_mount_counts_for_one_source_alone() -> None:
    capabilities = Capabilities(60, Clock()).of(KEY)
    capabilities.record_mount(MountSupport.REFUSED, "src", only_this_source=True)

    assert capabilities.mount_support("src") is MountSupport.REFUSED
    assert capabilities.mount_support("other") is MountSupport.GRANTED


def test_a_declined_mount_counts_for_all_sources_but_not_over_the_refusal_of_one() -> None:
    clock = Clock()
    capabilities = Capabilities(60, clock).of(KEY)
    capabilities.record_mount(MountSupport.REFUSED, "src", only_this_source=True)
    capabilities.record_mount(MountSupport.DECLINED, "a")

    assert capabilities.mount_support("other") is MountSupport.DECLINED
    assert capabilities.mount_support("src") is MountSupport.REFUSED
    clock.pass_by(61)
    assert capabilities.mount_support("src") is MountSupport.GRANTED


def test_a_granted_mount_ends_the_refusal_of_all() -> None:
    capabilities = Capabilities(60, Clock()).of(KEY)
    capabilities.record_mount(MountSupport.DECLINED, "a")
    capabilities.record_mount(MountSupport.GRANTED, "c")

    assert capabilities.mount_support("a") is MountSupport.GRANTED


def test_the_memory_has_a_limit() -> None:
    memory = Capabilities(60, Clock())
    for number in range(10_000):
        memory.of(replace(KEY, path=f"r{number}")).record_no_head()

    assert not memory.of(replace(KEY, path="r9999")).support_head
    assert memory.of(replace(KEY, path="r0")).support_head


# --- at the wire ---

IMAGE = make_image()
DIGEST = manifest_of(IMAGE).digest
ANN, BOB = replace(INSECURE, tenant="a"), replace(INSECURE, tenant="b")


async def push_to(
    client: RegistryClient, registry: RegistryDouble, path: str, access: Access, image: Image = IMAGE
) -> None:
    goal = target_at(registry, path, [image])
    await push_one(client, goal, [child_at(registry, "src", image)], access)


@pytest.mark.parametrize(("account", "path"), [(BOB, "bobs"), (ANN, "bobs"), (BOB, "anns")])
async def test_a_path_without_head_leaves_head_to_other_paths_and_accounts(
    registry: RegistryDouble, account: Access, path: str
) -> None:
    for each in ("anns", "bobs"):
        plant(registry, each, "1", IMAGE)
    rule = registry.misbehave(Status(405), method="HEAD", path=f"/{path}/manifests/", times=None)
    async with connect() as client:
        await client.head_manifest(reference_at(registry, f"{path}:1"), account)
        rule.stop()
        registry.forget()
        await client.head_manifest(reference_at(registry, "anns:1"), ANN)
    assert [each.method for each in registry.received(path="/manifests/")] == ["HEAD"]


@pytest.mark.parametrize("answer", [Status(404, headers={"Content-Type": "text/html"}), Status(200)])
async def test_a_path_without_the_referrers_api_leaves_it_to_other_paths(
    registry: RegistryDouble, answer: Fault
) -> None:
    plant(registry, "anns", "1", IMAGE)
    registry.misbehave(answer, path="/bobs/referrers/", times=None)
    async with connect() as client:
        for _ in range(2):
            await client.list_referrers(repository_at(registry, "bobs"), DIGEST, BOB)
        await client.list_referrers(repository_at(registry, "anns"), DIGEST, ANN)
    assert len(registry.received(path="/bobs/referrers/")) == 1
    assert len(registry.received(path="/anns/referrers/")) == 1


@pytest.mark.parametrize(
    "answer", [MountDeclined(405), MountDeclined(501), MountDeclined(202), MountDeclined(403)]
)
async def test_a_path_without_mounts_leaves_them_to_other_paths(
    registry: RegistryDouble, answer: Fault
) -> None:
    plant(registry, "src", "1", IMAGE)
    registry.misbehave(answer, method="POST", path="/bobs/blobs/uploads/", times=None)
    async with connect() as client:
        await push_to(client, registry, "bobs", BOB)
        registry.forget()
        await push_to(client, registry, "anns", ANN)
    assert {each.status for each in registry.received("POST")} == {201}


async def test_a_path_with_small_bodies_leaves_larger_ones_to_other_paths(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    plant(source, "src", "1", LARGE_IMAGE)
    registry.misbehave(TooLarge(4 * 1024 * 1024, 413), path="/bobs/", times=None)
    children = [child_at(source, "src", LARGE_IMAGE)]
    async with connect() as client:
        await push_one(client, target_at(registry, "bobs", [LARGE_IMAGE]), children, BOB)
        assert registry.received("PATCH")
        registry.forget()
        await push_one(client, target_at(registry, "anns", [LARGE_IMAGE]), children, ANN)
    assert not registry.received("PATCH")
