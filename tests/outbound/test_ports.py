"""Ports that are connected to, and those that nobody who names a registry makes the broker connect to."""

from __future__ import annotations

import pytest

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import digest_of
from app.outbound.ports import BLOCKED, Ports
from app.registry.client import Access, AccessPolicy, Credential, Keychain, RegistryClient
from app.registry.hooks import parse_receiver
from tests.support.images import make_image, plant
from tests.support.registry import Redirect, RegistryDouble
from tests.support.registry_clients import INSECURE, LOOPBACK, QUICK, reference_at, repository_at

IMAGE = make_image()
CONFIG = Descriptor("application/json", digest_of(IMAGE.config), len(IMAGE.config))
# What the standard's table calls them, beginning and end included.
FOR_NO_WEB_CLIENT = {
    0: "-",
    1: "tcpmux",
    21: "ftp",
    22: "ssh",
    23: "telnet",
    25: "smtp",
    53: "domain",
    110: "pop3",
    143: "imap",
    389: "ldap",
    514: "shell",
    587: "submission",
    2049: "nfs",
    4190: "sieve",
    5060: "sip",
    6000: "x11",
    6667: "ircu",
    6679: "osaut",
    6697: "ircs-u",
    10080: "amanda",
}
FOR_ANYBODY = (2, 80, 443, 444, 1024, 5000, 5001, 5432, 6379, 8080, 8443, 9200, 32768, 65535)


def only(*ports: int) -> AccessPolicy:
    return AccessPolicy.parse(allow_loopback=True, ports=[(port, port) for port in ports])


@pytest.mark.parametrize("port", FOR_NO_WEB_CLIENT, ids=str)
def test_ports_of_other_protocols_are_blocked_until_they_are_named(port: int) -> None:
    assert not Ports().allow(port)
    assert not Ports(((0, 65535),)).allow(port)
    assert Ports(((443, 443), (port, port))).allow(port)


def test_the_table_has_as_many_ports_as_the_standards() -> None:
    assert len(BLOCKED) == 83


@pytest.mark.parametrize("port", FOR_ANYBODY)
def test_all_others_are_open_until_some_are_named(port: int) -> None:
    assert Ports().allow(port)
    assert Ports(((port - 1, port),)).allow(port)
    assert Ports(((port, port + 1),)).allow(port)
    assert not Ports(((port + 1, port + 9), (1, 1))).allow(port)


@pytest.mark.parametrize(
    ("registry", "port"),
    [("reg.test:22", 22), ("[2606:4700::1111]:25", 25), ("8.8.8.8:6000", 6000), ("localhost:0022", 22)],
)
def test_a_registry_at_a_blocked_port_is_refused_by_its_name(registry: str, port: int) -> None:
    with pytest.raises(errors.RegistryForbidden, match=f"port {port},.*BROKER_REGISTRY_PORTS") as caught:
        LOOPBACK.check_registry(registry)
    assert caught.value.members["registry"] == registry
    only(port).check_registry(registry)


@pytest.mark.parametrize("registry", ["docker.io", "reg.test", "reg.test:443", "8.8.8.8"])
def test_a_registry_without_a_port_is_at_that_of_https(registry: str) -> None:
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
def test_a_port_that_there_is_not_is_a_mistake_of_who_named_it(registry: str) -> None:
    with pytest.raises(errors.InvalidReference, match="from 1 to 65535"):
        LOOPBACK.check_registry(registry)


@pytest.mark.parametrize(
    ("url", "policy"),
    [
        ("https://hooks.example.com:25/", AccessPolicy()),
        ("https://hooks.example.com/", only(8443)),
        ("https://hooks.example.com:8444/", only(8443)),
        ("http://localhost/", only(443)),
    ],
)
def test_a_receiver_at_such_a_port_is_refused_as_any_other(url: str, policy: AccessPolicy) -> None:
    with pytest.raises(errors.ReceiverForbidden) as caught:
        parse_receiver(url, policy)
    assert "port" not in caught.value.detail.replace(url, "")


async def test_nothing_is_asked_at_a_port_that_is_not_among_those_of_the_operator(
    registry: RegistryDouble,
) -> None:
    plant(registry, "app", "1", IMAGE)
    async with RegistryClient(only(443), limits=QUICK) as client:
        with pytest.raises(errors.RegistryForbidden, match=f"port {registry.port},"):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    async with RegistryClient(only(registry.port), limits=QUICK) as client:
        await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert [seen.path for seen in registry.journal] == ["/v2/", "/v2/app/manifests/1"]


async def test_a_redirect_leads_to_no_port_that_is_not_allowed(registry: RegistryDouble) -> None:
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
async def test_a_redirect_leads_to_no_port_of_another_protocol(registry: RegistryDouble, port: int) -> None:
    registry.misbehave(Redirect(f"http://127.0.0.1:{port}{{target}}"), path="/blobs/", times=None)
    async with RegistryClient(LOOPBACK, limits=QUICK) as client:
        with pytest.raises(errors.RegistryForbidden, match=f"port {port},"):
            await client.fetch_config(repository_at(registry, "app"), CONFIG, INSECURE)


async def test_a_token_is_asked_for_at_no_port_of_another_protocol() -> None:
    async with (
        RegistryDouble(auth="bearer", users={"user": "secret"}) as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        assert double.authority is not None
        double.authority.realm = "http://127.0.0.1:25/token"
        access = Access(Keychain({double.host: Credential("user", "secret")}), insecure=True)
        with pytest.raises(errors.RegistryForbidden, match="port 25,"):
            await client.fetch_manifest(reference_at(double, "app:1"), access)
