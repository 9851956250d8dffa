"""Two tenants of one broker on one registry: the rights of one give nothing to the other (T24, T38)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from app import errors
from app.oci.digest import parse_digest
from app.registry.auth.access import account_of
from app.registry.client import ANONYMOUS, Access, Credential, RegistryClient
from app.registry.push.push import dry_run, push
from tests.support.images import make_image, make_referrer, plant
from tests.support.registry import MountDeclined, RegistryDouble
from tests.support.registry_clients import (
    LOOPBACK,
    QUICK,
    child_at,
    push_one,
    reference_at,
    repository_at,
    signed_in,
    target_at,
)

USERS = {"alice": "alice's-5ecret", "bob": "bob's-5ecret"}
PRIVATE = make_image(media="oci", seed="private")
SIGNATURE = make_referrer(PRIVATE)


@dataclass(frozen=True, slots=True)
class Scene:
    """Alice has pushed her private image with this client, which has seen all of it; Bob's calls follow."""

    double: RegistryDouble
    client: RegistryClient
    alice: Access
    bob: Access


@pytest.fixture(params=["bearer", "basic"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with (
        RegistryDouble(auth=request.param, users=USERS) as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        assert double.authority is not None
        for name in USERS:
            double.authority.grants[name] = {f"{name}/.*": {"pull", "push"}}
        alice, bob = (signed_in(double.host, Credential(*user), tenant=user[0]) for user in USERS.items())
        for content in (PRIVATE, SIGNATURE):
            plant(double, "alice/src", "1", content)
        await client.fetch_manifest(reference_at(double, f"alice/src@{PRIVATE.digest}"), alice)
        children = [child_at(double, "alice/src", PRIVATE)]
        targets = [target_at(double, name, [PRIVATE]) for name in ("alice/a", "alice/b")]
        await push(client, targets, children, alice, with_referrers=True)
        double.forget()
        yield Scene(double, client, alice, bob)


async def fetch(scene: Scene) -> object:
    reference = reference_at(scene.double, f"alice/src@{PRIVATE.digest}")
    return await scene.client.fetch_manifest(reference, scene.bob)


async def head(scene: Scene) -> object:
    return await scene.client.head_manifest(reference_at(scene.double, "alice/src:1"), scene.bob)


async def fetch_config(scene: Scene) -> object:
    (config, *_) = child_at(scene.double, "alice/src", PRIVATE).blobs
    return await scene.client.fetch_config(repository_at(scene.double, "alice/src"), config, scene.bob)


async def copy(scene: Scene) -> object:
    """Bob claims it as his source: he knows the bytes of the manifest from elsewhere."""
    child = child_at(scene.double, "alice/src", PRIVATE)
    return await push_one(
        scene.client, target_at(scene.double, "bob/app", [PRIVATE]), [child], scene.bob, with_referrers=True
    )


async def list_referrers(scene: Scene) -> object:
    repository = repository_at(scene.double, "alice/src")
    return await scene.client.list_referrers(repository, parse_digest(PRIVATE.digest), scene.bob)


def scene_basic(credential: Credential) -> str:
    assert credential.basic is not None
    return credential.basic


@pytest.mark.parametrize("act", [fetch, head, fetch_config, copy, list_referrers])
async def test_a_tenant_is_refused_an_image_that_another_may_read(
    scene: Scene, act: Callable[[Scene], Awaitable[object]]
) -> None:
    with pytest.raises(errors.RegistryDenied):
        await act(scene)
    assert not scene.double.blobs("bob/app")
    assert not scene.double.tags("bob/app")


@pytest.mark.parametrize("mounts", [True, False])
async def test_a_blob_of_another_tenant_is_not_mounted(scene: Scene, mounts: bool) -> None:
    """Bob lists Alice's layers, whose digests he knows, in an image of his own repository."""
    if not mounts:
        scene.double.misbehave(MountDeclined(405), times=None)
    scene.double.rules.anonymous_mount = False
    scene.double.add_manifest("bob/src", "1", PRIVATE.raw, PRIVATE.media_type)
    target = target_at(scene.double, "bob/app", [PRIVATE])
    with pytest.raises(errors.SourceNotFound):
        await push_one(scene.client, target, [child_at(scene.double, "bob/src", PRIVATE)], scene.bob)
    asked = {r.query["from"] for r in scene.double.received("POST") if "from" in r.query}
    assert asked <= {"bob/src"}
    assert not scene.double.blobs("bob/app")
    assert not scene.double.tags("bob/app")


async def test_a_dry_run_reveals_nothing_about_another_tenant(scene: Scene) -> None:
    """The answer about Bob's target is the same whether Alice has the blob or nobody has it."""
    unknown = make_image(media="oci", seed="nobody's")
    found = []
    for image in (PRIVATE, unknown):
        target, child = target_at(scene.double, "bob/app", [image]), child_at(scene.double, "bob/src", image)
        found += await dry_run(scene.client, [target], [child], scene.bob)
    told = [{(blob.action, blob.source) for blob in each.blobs} for each in found]
    assert told[0] == told[1]
    assert not [r for r in scene.double.journal if "alice" in r.target]


async def test_no_credential_of_one_tenant_is_sent_for_another(scene: Scene) -> None:
    """Not even to the same registry: Bob's requests carry his own name, or fail."""
    for act in (fetch, copy):
        with pytest.raises(errors.RegistryDenied):
            await act(scene)
    tokens = scene.double.received(path="/token")
    signed = [r.headers.get("Authorization", "") for r in scene.double.journal]
    basic = {scene_basic(await scene.alice.keychain.find(scene.double.host))}
    assert not basic & set(signed)
    assert all("alice" not in r.query.get("account", "") for r in tokens)


def test_an_account_is_of_one_tenant_and_one_user() -> None:
    alice, bob = Credential("alice", "one"), Credential("bob", "one")
    accounts = {account_of(tenant, user) for tenant in ("a", "b") for user in (alice, bob, ANONYMOUS)}

    assert len(accounts) == 6
    assert account_of("a", Credential("alice", "another password")) == account_of("a", alice)
    assert "alice" not in account_of("a", alice)


def test_all_tokens_of_a_tenant_are_one_account() -> None:
    first, second = Credential(identity_token="first"), Credential(registry_token="second")

    assert account_of("a", first) == account_of("a", second) != account_of("a", ANONYMOUS)
