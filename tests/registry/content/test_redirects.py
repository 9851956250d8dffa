"""Redirects of blobs and manifests: where they may lead, and that no credential follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import parse_digest
from app.oci.reference import Reference
from app.registry.client import Access, Credential, FetchedManifest, RegistryClient, RegistryPolicy
from tests.support.images import DOCKER_CONFIG, make_image, plant
from tests.support.registry import (
    FlippedByte,
    Redirect,
    RegistryDouble,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    config_of,
    connect,
    reference_at,
    repository_at,
    signed_in,
)

IMAGE = make_image()


def redirected(
    double: RegistryDouble, location: str, *, status: int = 307, times: int | None = 1
) -> Reference:
    plant(double, "app", "1", IMAGE)
    double.misbehave(Redirect(location, status=status), path="/blobs/", times=times)
    return reference_at(double, "app:1")


async def fetch_behind(front: RegistryDouble, *listed: str, auth: Access = INSECURE) -> FetchedManifest:
    policy = replace(LOOPBACK, redirect_hosts={front.host: listed})
    async with RegistryClient(policy, limits=QUICK) as client:
        return await client.fetch_manifest(reference_at(front, "app:1"), auth)


async def test_insecure_is_not_carried_to_where_a_registry_redirects() -> None:
    """Storage has its own certificate, and the operator has listed the registry alone."""
    async with RegistryDouble() as plain, RegistryDouble(tls=True) as store:
        assert store.certificate is not None
        policy = RegistryPolicy.parse(
            allowed_networks=["127.0.0.0/8", "::1/128"], insecure_hosts=[plain.host]
        )
        plant(store, "app", None, IMAGE)
        plain.misbehave(Redirect(f"{store.base_url}{{target}}"), path="/blobs/", times=None)
        repository = repository_at(plain, "app")
        config = Descriptor(DOCKER_CONFIG, parse_digest(IMAGE.config_digest), len(IMAGE.config))
        async with RegistryClient(policy, limits=QUICK) as client:
            with pytest.raises(errors.RegistryTlsFailed):
                await client.fetch_config(repository, config, INSECURE)
        assert not store.journal
        async with RegistryClient(policy, limits=QUICK, tls=store.certificate.client_context()) as client:
            assert await client.fetch_config(repository, config, INSECURE) == IMAGE.config


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_config_elsewhere_is_fetched_without_the_credential(status: int) -> None:
    users = {"user": "canary-5ecret"}
    async with (
        RegistryDouble() as storage,
        RegistryDouble(auth="bearer", users=users) as double,
        connect() as client,
    ):
        plant(storage, "app", None, IMAGE)
        redirected(double, f"{storage.base_url}{{target}}?X-Amz-Signature=a%2Fb%3D&x=%7E", status=status)
        access = signed_in(double.host, Credential("user", "canary-5ecret"))
        config = await client.fetch_config(repository_at(double, "app"), config_of(IMAGE), access)
        assert config == IMAGE.config
        assert "Authorization" in double.received(path="/blobs/")[0].headers
        assert [r.path for r in storage.journal] == [f"/v2/app/blobs/{IMAGE.config_digest}"]
        assert "Authorization" not in storage.journal[0].headers
        assert storage.journal[0].target.endswith("?X-Amz-Signature=a%2Fb%3D&x=%7E")


async def test_a_redirect_within_the_registry_keeps_the_credential() -> None:
    users = {"user": "canary-5ecret"}
    async with RegistryDouble(auth="basic", users=users) as double, connect() as client:
        redirected(double, "{target}?again")
        access = signed_in(double.host, Credential("user", "canary-5ecret"))
        config = await client.fetch_config(repository_at(double, "app"), config_of(IMAGE), access)
    assert config == IMAGE.config


async def test_a_401_after_a_redirect_gets_no_credential() -> None:
    users = {"user": "canary-5ecret"}
    async with (
        RegistryDouble(auth="basic", users=users) as storage,
        RegistryDouble(auth="basic", users=users) as double,
        connect() as client,
    ):
        plant(storage, "app", None, IMAGE)
        redirected(double, f"{storage.base_url}{{target}}")
        access = signed_in(double.host, Credential("user", "canary-5ecret"))
        with pytest.raises(errors.RegistryDenied):
            await client.fetch_config(repository_at(double, "app"), config_of(IMAGE), access)
        assert not [r for r in storage.journal if "Authorization" in r.headers]


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://2130706433/",
        "http://user:pass@127.0.0.1/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "",
    ],
)
async def test_a_redirect_into_the_network_is_refused(registry: RegistryDouble, location: str) -> None:
    redirected(registry, location, times=None)
    async with connect() as client:
        with pytest.raises((errors.RegistryForbidden, errors.NotARegistry)):
            await client.fetch_config(repository_at(registry, "app"), config_of(IMAGE), INSECURE)


async def test_redirects_of_blobs_end(registry: RegistryDouble) -> None:
    redirected(registry, "{target}", times=None)
    async with connect() as client:
        with pytest.raises(errors.NotARegistry, match="too often"):
            await client.fetch_config(repository_at(registry, "app"), config_of(IMAGE), INSECURE)
    assert len(registry.received(path="/blobs/")) <= QUICK.redirects + 2


async def test_a_redirect_does_not_leave_tls() -> None:
    async with RegistryDouble() as plain, RegistryDouble(tls=True) as double, connect() as client:
        plant(plain, "app", None, IMAGE)
        redirected(double, f"{plain.base_url}{{target}}")
        with pytest.raises(errors.UntrustedOrigin, match="TLS"):
            await client.fetch_config(repository_at(double, "app"), config_of(IMAGE), INSECURE)
        assert not plain.journal


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_manifest_is_not_fetched_from_elsewhere(registry: RegistryDouble, method: str) -> None:
    async with RegistryDouble() as elsewhere, connect() as client:
        plant(elsewhere, "app", "1", IMAGE)
        registry.misbehave(Redirect(f"{elsewhere.base_url}{{target}}"), path="/manifests/", times=None)
        ask = client.fetch_manifest if method == "GET" else client.head_manifest
        with pytest.raises(errors.NotARegistry):
            await ask(reference_at(registry, "app:1"), INSECURE)
        assert not elsewhere.journal


async def test_manifests_are_fetched_from_hosts_that_the_operator_lists() -> None:
    """As registry.k8s.io does; no credential goes there, and the bytes are hashed."""
    image = make_image()
    user = {"user": "canary-5ecret"}
    async with RegistryDouble(auth="basic", users=user) as front, RegistryDouble() as behind:
        plant(front, "app", "1", image)
        plant(behind, "app", "1", image)
        front.misbehave(Redirect(behind.base_url + "{target}"), path="/manifests/", times=None)
        access = signed_in(front.host, Credential("user", user["user"]))
        assert (await fetch_behind(front, behind.host, auth=access)).raw.raw == image.raw
        (asked,) = behind.journal
        assert "Authorization" not in asked.headers
        behind.misbehave(FlippedByte(), path="/manifests/", times=None)
        with pytest.raises(errors.SourceUnusable):
            await fetch_behind(front, behind.host, auth=access)


async def test_a_redirect_of_a_manifest_carries_no_credential_anywhere() -> None:
    """Nor back to the registry, which gives its manifests to anyone then."""
    user = {"user": "canary-5ecret"}
    async with RegistryDouble(auth="basic", users=user) as double:
        plant(double, "app", "1", IMAGE)
        double.misbehave(Redirect("{target}?again"), path="/manifests/")
        access = signed_in(double.host, Credential("user", user["user"]))
        with pytest.raises(errors.RegistryDenied):
            await fetch_behind(double, double.host, auth=access)
        assert ["Authorization" in r.headers for r in double.received("GET", "/manifests/")] == [True, False]


async def test_a_manifest_redirect_to_an_unlisted_host_is_not_followed(registry: RegistryDouble) -> None:
    async with RegistryDouble() as elsewhere:
        plant(elsewhere, "app", "1", make_image())
        registry.misbehave(Redirect(elsewhere.base_url + "{target}"), path="/manifests/", times=None)
        with pytest.raises(errors.NotARegistry):
            await fetch_behind(registry, "other.test")
        assert not elsewhere.journal


async def test_redirects_of_manifests_end(registry: RegistryDouble) -> None:
    registry.misbehave(Redirect(registry.base_url + "{target}"), path="/manifests/", times=None)
    with pytest.raises(errors.NotARegistry):
        await fetch_behind(registry, registry.host)
    assert len(registry.received("GET", "/manifests/")) == 1 + QUICK.redirects
