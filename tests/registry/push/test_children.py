"""The children of an index: put by digest after their blobs, and checked again before the tag moves."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import pytest

from app import errors
from app.registry.client import RegistryClient
from app.registry.push.model import (
    BlobCounts,
    ManifestAction,
)
from app.registry.push.push import push
from tests.support.images import digest_of, make_image, plant, seed
from tests.support.plain_http import plain_client
from tests.support.pushes import (
    AMD64,
    ARM64,
    BOTH,
    DENIED,
    OTHER,
    SETTLING,
    STAGED,
    check_whole,
    puts_of,
    requests_of,
)
from tests.support.registry import (
    Hold,
    MountDeclined,
    RegistryDouble,
    Rules,
    Status,
    WrongDigestHeader,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    AnyRegistry,
    child_at,
    connect,
    push_one,
    reference_at,
    target_at,
    until,
)


async def test_a_child_in_the_target_itself_costs_one_request(registry: RegistryDouble) -> None:
    plant(registry, "app", "amd64", AMD64)
    async with connect() as client:
        await push_one(
            client, target_at(registry, "app", [AMD64]), [child_at(registry, "app", AMD64)], INSECURE
        )
    assert sorted(requests_of(registry)[:2]) == [("HEAD", "1"), ("HEAD", AMD64.digest)]
    assert requests_of(registry)[2:] == [("PUT", "1"), ("GET", "1")]


async def test_a_child_that_is_present_costs_one_request(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    plant(registry, "app", None, AMD64)
    async with connect() as client:
        await push_one(
            client, target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)], INSECURE
        )
    assert sorted(requests_of(registry)) == sorted(
        [("HEAD", "1"), ("HEAD", AMD64.digest), ("PUT", "1"), ("GET", "1")]
    )


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


async def test_a_child_that_the_registry_reports_with_another_digest_is_put(registry: RegistryDouble) -> None:
    """A cache that answers HEAD for other content does not have the manifest."""
    plant(registry, "app", None, AMD64)
    registry.misbehave(WrongDigestHeader(), method="HEAD", path=f"/manifests/{AMD64.digest}")
    async with connect() as client:
        result = await push_one(
            client, target_at(registry, "app", [AMD64]), [child_at(registry, "app", AMD64)], INSECURE
        )
    assert {each.action for each in result.manifests} == {ManifestAction.PUT}


async def test_manifests_are_put_where_head_is_unknown_and_missing_content_is_forbidden(
    registry: RegistryDouble,
) -> None:
    plant(registry, "src", "1", AMD64)
    registry.misbehave(Status(405), method="HEAD", path="/manifests/", times=None)
    registry.misbehave(Status.oci(403, "DENIED"), method="GET", path=f"/app/manifests/{AMD64.digest}")
    target = target_at(registry, "app", [AMD64])
    async with connect() as client:
        await push_one(client, target, [child_at(registry, "src", AMD64)], INSECURE)
    assert registry.tags("app")["1"] == str(target.index.digest)


async def test_a_child_that_is_gone_fails_the_push_and_moves_no_tag(any_registry: AnyRegistry) -> None:
    path = f"copy/{uuid.uuid4().hex}/gone"
    async with connect() as client:
        target, children = target_at(any_registry, path, [AMD64]), [child_at(any_registry, path, AMD64)]
        with pytest.raises(errors.SourceNotFound) as caught:
            await push_one(client, target, children, INSECURE)
        assert caught.value.members["upstream_code"] == "BLOB_UNKNOWN"
        assert await client.head_manifest(reference_at(any_registry, f"{path}:1"), INSECURE) is None


async def test_a_collected_child_is_put_again_from_the_blobs_that_are_left(any_registry: AnyRegistry) -> None:
    path = f"copy/{uuid.uuid4().hex}/collected"
    await seed(any_registry, path, "other", make_image(architecture="arm64", base=AMD64.layers, layers=0))
    root = f"{any_registry.base_url}/v2/{path}/blobs/uploads/?digest={AMD64.config_digest}"
    async with plain_client() as http:
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


async def test_a_child_that_was_seen_long_ago_is_checked_again_before_the_tag_moves(
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


async def test_a_child_that_head_reported_wrongly_is_put(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", AMD64)
    seen = Status(200, headers={"Docker-Content-Digest": AMD64.digest})
    registry.misbehave(seen, method="HEAD", path=AMD64.digest, times=None)
    target = target_at(registry, "app", [AMD64])
    async with connect() as client:
        await push_one(client, target, [child_at(registry, "src", AMD64)], INSECURE)
    assert [put.accepted for put in registry.tag_puts] == [False, True]
    await check_whole(registry, target, [AMD64])


@pytest.mark.parametrize("named", [True, False])
async def test_children_that_the_registry_lacks_are_put_again(registry: RegistryDouble, named: bool) -> None:
    """Children that the registry names, or all of them if it names none."""
    plant(registry, "src", "1", AMD64)
    plant(registry, "src", "2", ARM64)
    said = f"manifest {ARM64.digest} is not here" if named else "a manifest is not here"
    registry.misbehave(Status.oci(400, "MANIFEST_UNKNOWN", said), method="PUT", path="/manifests/1$")
    target = target_at(registry, "app", BOTH)
    children = [child_at(registry, "src", image) for image in BOTH]
    async with connect(SETTLING) as client:
        await push_one(client, target, children, INSECURE)
    assert [puts_of(registry, image.digest) for image in BOTH] == ([1, 2] if named else [2, 2])
    assert registry.tags("app")["1"] == str(target.index.digest)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("code", ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"])
async def test_blobs_that_a_present_child_lacks_are_copied_when_the_registry_says_so(
    registry: RegistryDouble, code: str, named: bool
) -> None:
    """A registry may have collected blobs of images that it keeps."""
    for image, tag in ((AMD64, "1"), (ARM64, "2")):
        plant(registry, "src", tag, image)
        plant(registry, "app", None, image)
    lost = digest_of(AMD64.layers[0])
    del registry.content.at("app").blobs[lost]
    said = f"blob {lost} is not here" if named else "blob unknown to registry"
    registry.misbehave(Status.oci(400, code, said), method="PUT", path="/manifests/1$")
    target = target_at(registry, "app", BOTH)
    async with connect(SETTLING) as client:
        await push_one(client, target, [child_at(registry, "src", image) for image in BOTH], INSECURE)
    await check_whole(registry, target, BOTH)
    assert lost in registry.blobs("app")
    assert [puts_of(registry, image.digest) for image in BOTH] == ([1, 0] if named else [1, 1])


@pytest.mark.parametrize("is_elsewhere", [True, False])
async def test_blobs_of_present_children_are_looked_up_on_request(is_elsewhere: bool) -> None:
    async with RegistryDouble() as registry, RegistryDouble() as other, connect() as client:
        source = other if is_elsewhere else registry
        plant(source, "src", "1", AMD64)
        plant(registry, "app", None, AMD64)
        lost = digest_of(AMD64.config)
        del registry.content.at("app").blobs[lost]
        target, children = target_at(registry, "app", [AMD64]), [child_at(source, "src", AMD64)]
        (result,) = await push(client, [target], children, INSECURE, checks_blobs=True)
        assert lost in registry.blobs("app")
        assert [each.action for each in result.manifests] == [ManifestAction.PRESENT]
        await check_whole(registry, target, [AMD64])


async def test_a_blob_that_is_nowhere_fails_a_push_that_looks_it_up(registry: RegistryDouble) -> None:
    plant(registry, "app", "amd64", AMD64)
    del registry.content.at("app").blobs[digest_of(AMD64.config)]
    target, children = target_at(registry, "app", [AMD64]), [child_at(registry, "app", AMD64)]
    async with connect() as client:
        with pytest.raises(errors.SourceNotFound):
            await push(client, [target], children, INSECURE, checks_blobs=True)
    assert "1" not in registry.tags("app")


async def test_children_are_checked_again_after_a_slower_target(registry: RegistryDouble) -> None:
    """Children that were collected during a slow upload are put again before the tag moves."""
    registry.rules.require_children = False
    hold = Hold()
    plant(registry, "src", "1", STAGED)
    async with (
        RegistryDouble() as slow,
        connect(replace(QUICK, fresh_seconds=0)) as client,
        asyncio.TaskGroup() as group,
    ):
        slow.misbehave(hold, method="PUT", path=f"/manifests/{STAGED.digest}")
        targets = [target_at(registry, "app", [STAGED]), target_at(slow, "app", [STAGED])]
        index = str(targets[0].index.digest)
        group.create_task(push(client, targets, [child_at(registry, "src", STAGED)], INSECURE))
        await registry.until(lambda: bool(registry.received("GET", index)))
        registry.content.at("app").delete_manifest(STAGED.digest)
        hold.gate.set()
    assert [put.missing for put in registry.tag_puts] == [()]


async def test_two_targets_of_a_registry_fetch_a_blob_once(any_registry: AnyRegistry) -> None:
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", STAGED)
        targets = [target_at(any_registry, f"once/{name}", [STAGED]) for name in ("a", "b", "c")]
        results = await push(client, targets, [child_at(source, "src", STAGED)], INSECURE)
        assert len(source.received("GET", "/blobs/")) == len(STAGED.blobs)
    size = sum(map(len, STAGED.blobs.values()))
    assert results[0].blobs == BlobCounts(copied=4, bytes_copied=size)
    assert [each.blobs for each in results[1:]] == [BlobCounts(mounted=4)] * 2


async def test_a_target_copies_from_the_source_if_the_first_target_fails(
    registry: RegistryDouble,
) -> None:
    registry.misbehave(DENIED, method="PUT", path=f"/a/manifests/{STAGED.digest}", times=None)
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", STAGED)
        targets = [target_at(registry, name, [STAGED]) for name in ("a", "b")]
        with pytest.raises(errors.RegistryDenied):
            await push(client, targets, [child_at(source, "src", STAGED)], INSECURE)
    assert not [each for each in registry.received("POST") if "mount" in each.query]
    assert registry.blobs("b") == set(STAGED.blobs)
    assert registry.get_manifest("b", str(targets[1].index.digest))


async def test_targets_do_not_wait_for_each_other_without_mounts(registry: RegistryDouble) -> None:
    registry.rules = Rules(anonymous_mount=False)
    registry.misbehave(MountDeclined(405), times=None)
    hold = Hold()
    async with RegistryDouble() as source, connect() as client, asyncio.TaskGroup() as group:
        plant(source, "src", "1", STAGED)
        plant(registry, "known", "1", OTHER)
        for name in ("a", "b"):
            target = target_at(registry, name, [OTHER], tags=("known",))
            await push_one(client, target, [child_at(registry, "known", OTHER)], INSECURE)
        registry.misbehave(hold, method="PUT", path=f"/a/manifests/{STAGED.digest}")
        targets = [target_at(registry, name, [STAGED]) for name in ("a", "b")]
        group.create_task(push(client, targets, [child_at(source, "src", STAGED)], INSECURE))
        await registry.until(lambda: bool(registry.received("PUT", f"/b/manifests/{STAGED.digest}")))
        hold.gate.set()
    assert len(registry.tag_puts) == 4
