"""Ports that the client connects to, wherever a registry sends it."""

from __future__ import annotations

import pytest

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import digest_of
from app.registry.client import Access, Credential, Keychain, RegistryClient
from tests.registry.test_policy import only
from tests.support.images import make_image, plant
from tests.support.registry import Redirect, RegistryDouble
from tests.support.registry_clients import INSECURE, LOOPBACK, QUICK, reference_at, repository_at

IMAGE = make_image()
CONFIG = Descriptor("application/json", digest_of(IMAGE.config), len(IMAGE.config))


async def test_a_port_that_the_operator_does_not_list_gets_no_request(
    registry: RegistryDouble,
) -> None:
    plant(registry, "app", "1", IMAGE)
    async with RegistryClient(only(443), limits=QUICK) as client:
        with pytest.raises(errors.RegistryForbidden, match=f"port {registry.port},"):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    async with RegistryClient(only(registry.port), limits=QUICK) as client:
        await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert [seen.path for seen in registry.journal] == ["/v2/", "/v2/app/manifests/1"]


async def test_a_redirect_to_a_port_that_is_not_allowed_is_refused(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", IMAGE)
    async with RegistryDouble() as storage:
        plant(storage, "app", "1", IMAGE)
        registry.misbehave(Redirect(f"{storage.base_url}{{target}}"), path="/blobs/", times=None)
        repository = repository_at(registry, "app")
        async with RegistryClient(only(registry.port), limits=QUICK) as client:
            with pytest.raises(errors.RegistryForbidden, match=f"port {storage.port},"):
                await client.fetch_config(repository, CONFIG, INSECURE)
        assert storage.journal == []
        async with RegistryClient(only(registry.port, storage.port), limits=QUICK) as client:
            assert await client.fetch_config(repository, CONFIG, INSECURE) == IMAGE.config


@pytest.mark.parametrize("port", [22, 6000])
async def test_a_redirect_to_a_port_of_another_protocol_is_refused(
    registry: RegistryDouble, port: int
) -> None:
    registry.misbehave(Redirect(f"http://127.0.0.1:{port}{{target}}"), path="/blobs/", times=None)
    async with RegistryClient(LOOPBACK, limits=QUICK) as client:
        with pytest.raises(errors.RegistryForbidden, match=f"port {port},"):
            await client.fetch_config(repository_at(registry, "app"), CONFIG, INSECURE)


async def test_a_token_service_at_a_port_of_another_protocol_is_refused() -> None:
    async with (
        RegistryDouble(auth="bearer", users={"user": "secret"}) as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        assert double.authority is not None
        double.authority.realm = "http://127.0.0.1:25/token"
        access = Access(Keychain({double.host: Credential("user", "secret")}), insecure=True)
        with pytest.raises(errors.RegistryForbidden, match="port 25,"):
            await client.fetch_manifest(reference_at(double, "app:1"), access)
