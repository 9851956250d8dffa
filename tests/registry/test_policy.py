"""The operator's policy for registries."""

from __future__ import annotations

import pytest

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import digest_of
from app.registry.client import Access, Credential, Keychain, RegistryClient
from app.registry.policy import RegistryPolicy
from tests.support.images import make_image, plant
from tests.support.registry import Redirect, RegistryDouble
from tests.support.registry_clients import INSECURE, LOOPBACK, QUICK, reference_at, repository_at

IMAGE = make_image()
CONFIG = Descriptor("application/json", digest_of(IMAGE.config), len(IMAGE.config))


def only(*ports: int) -> RegistryPolicy:
    return RegistryPolicy.parse(allow_loopback=True, ports=[(port, port) for port in ports])


def test_redirects_of_manifests_belong_to_their_registry() -> None:
    policy = RegistryPolicy.parse(redirect_hosts={"Front.test": ["*.behind.test"]})
    assert policy.may_redirect("front.test:443", "eu.behind.test")
    assert not policy.may_redirect("other.test", "eu.behind.test")
    assert not policy.may_redirect("front.test", "evilbehind.test")
    assert policy.may_redirect("registry.k8s.io", "us-west1-docker.pkg.dev")


def test_token_origins_belong_to_their_registry() -> None:
    policy = RegistryPolicy.parse(
        token_origins={"Reg.example.com": ["auth.example.com", "https://b.test:8443/x"]}
    )
    assert policy.trusts_token_origin("reg.example.com", "https://auth.example.com")
    assert policy.trusts_token_origin("reg.example.com:443", "https://b.test:8443")
    assert not policy.trusts_token_origin("other.example.com", "https://auth.example.com")
    assert not policy.trusts_token_origin("reg.example.com", "https://auth.example.com:444")


@pytest.mark.parametrize("registry", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_is_known_to_fetch_tokens_elsewhere(registry: str) -> None:
    assert RegistryPolicy().trusts_token_origin(registry, "https://auth.docker.io")
    assert not RegistryPolicy().trusts_token_origin("auth.docker.io.evil.test", "https://auth.docker.io")


@pytest.mark.parametrize(
    "origin", ["http://auth.example.com", "https://", "ftp://a", "https://u@auth.example.com"]
)
def test_an_origin_is_https_and_a_host(origin: str) -> None:
    with pytest.raises(ValueError, match="not an"):
        RegistryPolicy.parse(token_origins={"reg.example.com": [origin]})


@pytest.mark.parametrize(
    ("listed", "named", "allowed"),
    [
        ([], "anything.test", True),
        (["docker.io"], "docker.io", True),
        (["index.docker.io"], "docker.io", True),
        (["quay.io"], "quay.io:443", True),
        (["quay.io"], "evilquay.io", False),
        (["quay.io"], "quay.io.evil.test", False),
        (["quay.io:5000"], "quay.io", False),
        (["*.example.com"], "a.example.com:5000", True),
        (["*.example.com"], "example.com", False),
        (["10.1.0.0/16"], "10.1.2.3:5000", True),
        (["10.1.0.0/16", "quay.io"], "10.2.2.3", False),
    ],
)
def test_where_registries_are_listed_no_other_may_be_named(
    listed: list[str], named: str, allowed: bool
) -> None:
    policy = RegistryPolicy.parse(registries=listed)
    if allowed:
        policy.check_registry(named)
        return
    with pytest.raises(errors.RegistryForbidden, match="not among"):
        policy.check_registry(named)


@pytest.mark.parametrize(
    ("registry", "port"),
    [("reg.test:22", 22), ("[2606:4700::1111]:25", 25), ("8.8.8.8:6000", 6000), ("localhost:0022", 22)],
)
def test_a_registry_at_a_blocked_port_is_refused_by_name(registry: str, port: int) -> None:
    with pytest.raises(errors.RegistryForbidden, match=f"port {port}") as caught:
        LOOPBACK.check_registry(registry)
    assert caught.value.members["registry"] == registry
    only(port).check_registry(registry)


@pytest.mark.parametrize("registry", ["docker.io", "reg.test", "reg.test:443", "8.8.8.8"])
def test_a_registry_without_a_port_is_at_the_port_of_https(registry: str) -> None:
    only(443).check_registry(registry)
    with pytest.raises(errors.RegistryForbidden, match="port 443,"):
        only(5000).check_registry(registry)


@pytest.mark.parametrize(
    "registry",
    [
        "reg.test:0",
        "reg.test:65536",
        "reg.test:99999",
        "reg.test:000443",
        "reg.test:" + "9" * 4000,
        "[::1]:0",
    ],
)
def test_an_impossible_port_is_an_invalid_reference(registry: str) -> None:
    with pytest.raises(errors.InvalidReference, match="from 1 to 65535"):
        LOOPBACK.check_registry(registry)


@pytest.mark.parametrize("name", ["ghcr.io", "GHCR.io", "ghcr.io:443"])
def test_a_listed_registry_may_have_any_spelling(name: str) -> None:
    policy = RegistryPolicy.parse(registries=["ghcr.io"])
    policy.check_registry(name)
    with pytest.raises(errors.RegistryForbidden):
        policy.check_registry(f"other.{name}")


def test_a_known_front_may_redirect_and_no_other_registry() -> None:
    policy = RegistryPolicy()
    assert policy.may_redirect("registry.k8s.io", "europe-docker.pkg.dev")
    assert not policy.may_redirect("registry.test", "europe-docker.pkg.dev")


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
    async with RegistryDouble(auth="bearer", users={"user": "secret"}) as double:
        assert double.authority is not None
        double.authority.realm = "http://127.0.0.1:25/token"
        access = Access(Keychain({double.host: Credential("user", "secret")}), insecure=True)
        listed = {double.host: [double.authority.realm]}
        policy = RegistryPolicy.parse(allow_loopback=True, token_origins=listed)
        async with RegistryClient(policy, limits=QUICK) as client:
            with pytest.raises(errors.RegistryForbidden, match="port 25,"):
                await client.fetch_manifest(reference_at(double, "app:1"), access)
