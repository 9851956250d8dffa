"""Later pushes mount blobs from where earlier pushes of the same tenant have brought them."""

from __future__ import annotations

import pytest

from app.oci.descriptor import Descriptor
from app.oci.digest import digest_of
from app.oci.reference import parse_reference
from app.registry.client import Access, Credential, Keychain, RegistryClient
from app.registry.push.model import BlobCounts, CopyChild, CopyResult
from app.registry.push.push import dry_run
from app.registry.pushed_blobs import PushedBlobs
from tests.support.images import make_image, plant
from tests.support.registry import RegistryDouble
from tests.support.registry_clients import INSECURE, child_at, connect, push_one, target_at

BASE = b"b" * 2000
FIRST, SECOND = (make_image(architecture="amd64", base=[BASE], seed=seed) for seed in ("one", "two"))
REPOSITORIES = [parse_reference(f"r.test/{name}:1").repository for name in ("a", "b", "c")]


def blobs(count: int) -> list[Descriptor]:
    return [Descriptor("a/b", digest_of(str(number).encode()), 1) for number in range(count)]


def mounts(registry: RegistryDouble) -> list[str]:
    return [each.query["from"] for each in registry.received("POST", "/uploads/") if "mount" in each.query]


def moved(result: CopyResult) -> tuple[int, int]:
    return result.blobs.mounted, result.blobs.copied


@pytest.fixture
async def source() -> RegistryDouble:
    double = RegistryDouble()
    for image, name in ((FIRST, "one"), (SECOND, "two")):
        plant(double, name, "1", image)
    return double


async def push(
    client: RegistryClient, child: CopyChild, registry: RegistryDouble, to: str, access: Access = INSECURE
) -> CopyResult:
    image = next(each for each in (FIRST, SECOND) if each.digest == str(child.manifest.digest))
    return await push_one(client, target_at(registry, to, [image]), [child], access)


async def test_the_same_image_is_mounted_into_the_next_repository(
    registry: RegistryDouble, source: RegistryDouble
) -> None:
    async with source, connect() as client:
        assert moved(await push(client, child_at(source, "one", FIRST), registry, "a")) == (
            0,
            len(FIRST.blobs),
        )
        source.forget()
        assert moved(await push(client, child_at(source, "one", FIRST), registry, "b")) == (
            len(FIRST.blobs),
            0,
        )
        assert not source.received("GET", "/blobs/")
    assert mounts(registry) == ["a"] * len(FIRST.blobs)


async def test_a_layer_that_another_image_has_brought_is_mounted(
    registry: RegistryDouble, source: RegistryDouble
) -> None:
    async with source, connect() as client:
        await push(client, child_at(source, "one", FIRST), registry, "a")
        result = await push(client, child_at(source, "two", SECOND), registry, "b")
    shared = FIRST.blobs.keys() & SECOND.blobs.keys()
    assert moved(result) == (len(shared), len(SECOND.blobs) - len(shared))


async def test_a_plan_predicts_the_mount(registry: RegistryDouble, source: RegistryDouble) -> None:
    async with source, connect() as client:
        await push(client, child_at(source, "one", FIRST), registry, "a")
        target, children = target_at(registry, "b", [FIRST]), [child_at(source, "one", FIRST)]
        (planned,) = await dry_run(client, [target], children, INSECURE)
        assert planned.counts.mounted == len(FIRST.blobs)
        (again,) = await dry_run(client, [target_at(registry, "c", [FIRST])], children, INSECURE)
    assert {each.source for each in again.blobs} == {target_at(registry, "a", [FIRST]).repository}


async def test_a_blob_that_is_gone_is_copied_and_no_longer_mounted_from_there(
    registry: RegistryDouble, source: RegistryDouble
) -> None:
    async with source, connect() as client:
        await push(client, child_at(source, "one", FIRST), registry, "a")
        registry.content.at("a").blobs.clear()
        assert moved(await push(client, child_at(source, "one", FIRST), registry, "b")) == (
            0,
            len(FIRST.blobs),
        )
        assert moved(await push(client, child_at(source, "one", FIRST), registry, "c")) == (
            len(FIRST.blobs),
            0,
        )
    assert registry.blobs("c") == set(FIRST.blobs)


async def test_the_pushes_of_another_tenant_are_no_hint(
    registry: RegistryDouble, source: RegistryDouble
) -> None:
    async with source, connect() as client:
        for tenant in ("one", "two"):
            await push(
                client,
                child_at(source, "one", FIRST),
                registry,
                tenant,
                access=Access(insecure=True, tenant=tenant),
            )
    assert not mounts(registry)


async def test_a_credential_that_may_not_read_there_copies(source: RegistryDouble) -> None:
    users = {"one": "1", "two": "2"}
    async with source, RegistryDouble(auth="bearer", users=users) as registry, connect() as client:
        assert registry.authority is not None
        for user, password in users.items():
            registry.authority.grants[user] = {user: {"pull", "push"}}
            own = {registry.host: Credential(user, password)}
            result = await push(
                client,
                child_at(source, "one", FIRST),
                registry,
                user,
                access=Access(Keychain(own=own), insecure=True),
            )
            assert result.blobs == BlobCounts(0, len(FIRST.blobs), 0, sum(map(len, FIRST.blobs.values())))


def test_only_the_newest_hints_are_kept() -> None:
    known, listed = PushedBlobs(most=3), blobs(5)
    known.record("t", REPOSITORIES[0], listed[:3])
    known.record("t", REPOSITORIES[1], [listed[0], listed[3]])
    found = [known.find("t", "r.test", each.digest) for each in listed]
    assert found == [REPOSITORIES[1], None, REPOSITORIES[0], REPOSITORIES[1], None]


def test_a_wrong_hint_is_forgotten_and_a_newer_one_is_not() -> None:
    known, (blob,) = PushedBlobs(), blobs(1)
    known.record("t", REPOSITORIES[0], [blob])
    known.forget("t", REPOSITORIES[1], blob.digest)
    assert known.find("t", "r.test", blob.digest) == REPOSITORIES[0]
    known.forget("t", REPOSITORIES[0], blob.digest)
    assert known.find("t", "r.test", blob.digest) is None
