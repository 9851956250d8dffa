"""One target of a push: its tags are read, its children shared with other targets, its index staged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app import errors
from app.oci import media_types
from app.oci.digest import parse_digest
from app.registry.client import RegistryClient, RegistryPolicy
from app.registry.push.push import push
from tests.support.images import plant, seed
from tests.support.pushes import (
    AMD64,
    BOTH,
    OTHER,
    STAGED,
    RecordingGuard,
    check_whole,
    last_requests,
    plant_apart,
)
from tests.support.registry import (
    Fault,
    MountDeclined,
    OtherBody,
    RegistryDouble,
    Status,
    WithoutHeader,
)
from tests.support.registry_clients import (
    INSECURE,
    QUICK,
    AnyRegistry,
    child_at,
    connect,
    push_one,
    reference_at,
    target_at,
)


@pytest.mark.parametrize("way", ["copied", "with referrers"])
async def test_an_insecure_target_leaves_other_registries_readable(way: str) -> None:
    """An image on a registry with TLS goes there and to a plain HTTP registry that the operator lists."""
    async with RegistryDouble() as plain, RegistryDouble(tls=True) as guarded:
        assert guarded.certificate is not None
        policy = RegistryPolicy.parse(
            allowed_networks=["127.0.0.0/8", "::1/128"], insecure_hosts=[plain.host]
        )
        client = RegistryClient(policy, limits=QUICK, tls=guarded.certificate.client_context())
        plant(guarded, "src", "1", STAGED)
        guarded.misbehave(MountDeclined(202), times=None)
        targets = [target_at(each, "app", [STAGED]) for each in (plain, guarded)]
        children = [child_at(guarded, "src", STAGED)]
        async with client:
            await push(client, targets, children, INSECURE, with_referrers=way == "with referrers")
        assert plain.tags("app") == guarded.tags("app") == {"1": str(targets[0].index.digest)}


async def test_several_tags_get_the_same_index(any_registry: AnyRegistry) -> None:
    children, path = await plant_apart(any_registry, BOTH)
    target = target_at(any_registry, path, BOTH, tags=("1", "1.2", "latest"))
    async with connect() as client:
        result = await push_one(client, target, children, INSECURE)
    assert result.previous == dict.fromkeys(target.tags)
    await check_whole(any_registry, target, BOTH)


async def test_without_a_tag_the_index_goes_under_its_digest(any_registry: AnyRegistry) -> None:
    children, path = await plant_apart(any_registry, BOTH)
    target = target_at(any_registry, path, BOTH, tags=())
    async with connect() as client:
        result = await push_one(client, target, children, INSECURE)
        reference = reference_at(any_registry, f"{path}@{target.index.digest}")
        assert (await client.fetch_manifest(reference, INSECURE)).raw == target.index
    assert result.previous == {}


async def test_an_insecure_target_does_not_make_another_source_insecure() -> None:
    """A source on a registry that may not be insecure is reached with verified TLS, or not at all."""
    async with RegistryDouble() as source, RegistryDouble() as double:
        policy = RegistryPolicy.parse(allowed_networks=["127.0.0.0/8"], insecure_hosts=[double.host])
        plant(source, "src", "1", AMD64)
        async with RegistryClient(policy, limits=QUICK) as client:
            target, children = target_at(double, "dst", [AMD64]), [child_at(source, "src", AMD64)]
            with pytest.raises(errors.RegistryTlsFailed) as caught:
                await push_one(client, target, children, INSECURE)
        assert caught.value.members["registry"] == source.host


async def test_the_previous_digest_of_a_tag_is_in_the_result(any_registry: AnyRegistry) -> None:
    children, path = await plant_apart(any_registry, BOTH)
    await seed(any_registry, path, "1", AMD64)
    async with connect() as client:
        target = target_at(any_registry, path, BOTH, tags=("1", "2"))
        result = await push_one(client, target, children, INSECURE)
    assert result.previous == {"1": parse_digest(AMD64.digest), "2": None}


@pytest.mark.parametrize("faults", [[WithoutHeader()], [Status(405)], [Status(403)]])
async def test_the_previous_digest_is_found_without_head(
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


async def test_tags_are_read_once_while_children_are_copied(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", STAGED)
    asked = RecordingGuard()
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        await push_one(client, target, children, INSECURE, guard=asked.guard)
    assert len(registry.received("HEAD", "/manifests/1")) == 1
    assert last_requests(registry, 4) == [
        ("PUT", STAGED.digest),
        ("HEAD", STAGED.digest),
        ("PUT", "1"),
        ("GET", "1"),
    ]


async def test_a_tag_that_was_read_long_ago_is_read_again(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", STAGED)
    plant(registry, "app", "1", STAGED)
    registry.misbehave(OtherBody(OTHER.raw), method="GET", path="/manifests/1$")
    asked = RecordingGuard()
    async with connect(replace(QUICK, snapshot_seconds=0)) as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        result = await push_one(client, target, children, INSECURE, guard=asked.guard)
    assert list(asked.told[0].digests.values()) == [parse_digest(OTHER.digest)]
    assert result.previous == {"1": parse_digest(OTHER.digest)}


async def test_a_tag_that_holds_an_image_of_the_first_schema_can_be_moved(registry: RegistryDouble) -> None:
    """Its digest is not that of its bytes, which are signed."""
    plant(registry, "src", "1", STAGED)
    headers = {"Content-Type": media_types.DOCKER_SCHEMA1_SIGNED, "Docker-Content-Digest": OTHER.digest}
    registry.misbehave(Status(200, b"", headers), method="HEAD", path="/manifests/1$")
    registry.misbehave(Status(200, b'{"schemaVersion":1}', headers), method="GET", path="/manifests/1$")
    async with connect() as client:
        target, children = target_at(registry, "app", [STAGED]), [child_at(registry, "src", STAGED)]
        await push_one(client, target, children, INSECURE)
    assert registry.tags("app") == {"1": str(target.index.digest)}
