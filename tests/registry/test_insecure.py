"""TLS, plain HTTP and who may give them up."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import parse_digest
from app.oci.reference import parse_reference
from app.registry.client import Access, Credential, RegistryClient, RegistryPolicy
from app.registry.push.push import push
from tests.support.images import DOCKER_CONFIG, make_image, plant
from tests.support.registry import MountDeclined, Redirect, RegistryDouble
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    child_at,
    listening,
    reference_at,
    repository_at,
    signed_in,
    target_at,
)

SECURE = Access()
IMAGE = make_image()
# Loopback may be reached, but no host was allowed to be insecure.
STRICT = RegistryPolicy.parse(allowed_networks=["127.0.0.0/8", "::1/128"])


async def fetch(
    double: RegistryDouble, policy: RegistryPolicy, access: Access, *, tls: ssl.SSLContext | None = None
) -> str:
    plant(double, "app", "1", IMAGE)
    async with RegistryClient(policy, limits=QUICK, tls=tls) as client:
        return str((await client.fetch_manifest(reference_at(double, "app:1"), access)).digest)


async def test_a_certificate_that_is_not_trusted_is_refused_and_the_remedy_told() -> None:
    async with RegistryDouble(tls=True) as double:
        with pytest.raises(errors.RegistryTlsFailed, match=r"certificate.*insecure") as caught:
            await fetch(double, LOOPBACK, SECURE)
        assert caught.value.members["registry"] == double.host
        assert not double.journal


async def test_a_certificate_that_is_trusted_is_accepted() -> None:
    async with RegistryDouble(tls=True) as double:
        assert double.certificate is not None
        assert await fetch(double, LOOPBACK, SECURE, tls=double.certificate.client_context()) == IMAGE.digest


@pytest.mark.parametrize("way", ["password", "identity token"])
async def test_a_token_service_of_the_registrys_own_is_met_as_the_registry_is(way: str) -> None:
    """Its certificate is the same, and so no more to be trusted."""
    credential = Credential("user", "secret") if way == "password" else Credential(identity_token="identity")
    async with RegistryDouble(tls=True, auth="bearer", users={"user": "secret"}) as double:
        assert double.authority is not None
        double.authority.identity_tokens["identity"] = "user"
        assert await fetch(double, LOOPBACK, signed_in(double.host, credential)) == IMAGE.digest


async def test_tls_without_verification_works_on_loopback_when_asked() -> None:
    async with RegistryDouble(tls=True) as double:
        assert await fetch(double, LOOPBACK, INSECURE) == IMAGE.digest


async def test_plain_http_is_refused_when_not_asked_for() -> None:
    async with RegistryDouble() as double:
        with pytest.raises(errors.RegistryTlsFailed, match="plain HTTP"):
            await fetch(double, LOOPBACK, SECURE)
        assert not [r for r in double.journal if r.path.startswith("/v2")]


async def test_plain_http_is_found_when_asked_for() -> None:
    async with RegistryDouble() as double:
        assert await fetch(double, LOOPBACK, INSECURE) == IMAGE.digest


@pytest.mark.parametrize("tls", [True, False])
async def test_insecure_is_refused_where_the_operator_does_not_allow_it(tls: bool) -> None:
    async with RegistryDouble(tls=tls) as double:
        with pytest.raises(errors.InsecureForbidden, match="operator"):
            await fetch(double, STRICT, INSECURE)
        assert not double.journal


@pytest.mark.parametrize("tls", [True, False])
async def test_insecure_works_for_a_host_that_the_operator_lists(tls: bool) -> None:
    async with RegistryDouble(tls=tls) as double:
        policy = RegistryPolicy.parse(
            allowed_networks=["127.0.0.0/8", "::1/128"], insecure_hosts=[double.host]
        )
        assert await fetch(double, policy, INSECURE) == IMAGE.digest


@pytest.mark.parametrize("tls", [True, False])
async def test_a_listed_host_is_still_verified_for_who_does_not_ask(tls: bool) -> None:
    async with RegistryDouble(tls=tls) as double:
        policy = RegistryPolicy.parse(allowed_networks=["127.0.0.0/8"], insecure_hosts=[double.host])
        with pytest.raises(errors.RegistryTlsFailed):
            await fetch(double, policy, SECURE)


async def test_who_asks_for_insecure_does_not_make_others_insecure() -> None:
    async with RegistryDouble(tls=True) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        reference = reference_at(double, "app:1")
        await client.fetch_manifest(reference, INSECURE)
        with pytest.raises(errors.RegistryTlsFailed):
            await client.fetch_manifest(reference, SECURE)


async def test_what_was_learnt_is_remembered() -> None:
    async with RegistryDouble() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        for _ in range(3):
            await client.fetch_manifest(reference_at(double, "app:1"), INSECURE)
        assert [r.path for r in double.journal if r.path == "/v2/"] == ["/v2/"]


async def test_a_name_is_resolved_like_an_address() -> None:
    async with RegistryDouble(name="localhost", tls=True) as double:
        assert await fetch(double, LOOPBACK, INSECURE) == IMAGE.digest


# A fatal alert of TLS: no common way to speak was found.
HANDSHAKE_FAILURE = bytes([0x15, 3, 3, 0, 2, 2, 40])


@pytest.mark.parametrize("answer", [b"", HANDSHAKE_FAILURE])
async def test_a_tls_handshake_that_fails_does_not_become_plain_http(answer: bytes) -> None:
    """Only a port that answers in HTTP speaks it."""
    seen: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(3))
        writer.write(answer)
        writer.close()

    async with listening(refuse) as port, RegistryClient(LOOPBACK, limits=QUICK) as client:
        with pytest.raises(errors.RegistryError):
            await client.fetch_manifest(parse_reference(f"127.0.0.1:{port}/app:1"), INSECURE)
    assert {start[:1] for start in seen} == {b"\x16"}


async def test_a_password_goes_over_plain_http_only_where_that_was_asked_and_allowed() -> None:
    credential = Credential("user", "canary-5ecret")
    async with RegistryDouble(auth="basic", users={"user": "canary-5ecret"}) as double:
        with pytest.raises(errors.RegistryTlsFailed):
            await fetch(double, LOOPBACK, signed_in(double.host, credential, insecure=False))
        assert not [r for r in double.journal if "Authorization" in r.headers]
        assert await fetch(double, LOOPBACK, signed_in(double.host, credential)) == IMAGE.digest


async def test_insecure_is_not_carried_to_where_a_registry_redirects() -> None:
    """A store of blobs has its own certificate, and the operator has listed the registry alone."""
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


@pytest.mark.parametrize("way", ["copied", "with referrers"])
async def test_insecure_targets_beside_others_don_t_forbid_reading_those(way: str) -> None:
    """What is on a registry with TLS is brought to it, and to one in plain HTTP that the operator lists."""
    async with RegistryDouble() as plain, RegistryDouble(tls=True) as guarded:
        assert guarded.certificate is not None
        policy = RegistryPolicy.parse(
            allowed_networks=["127.0.0.0/8", "::1/128"], insecure_hosts=[plain.host]
        )
        client = RegistryClient(policy, limits=QUICK, tls=guarded.certificate.client_context())
        plant(guarded, "src", "1", IMAGE)
        guarded.misbehave(MountDeclined(202), times=None)
        targets = [target_at(each, "app", [IMAGE]) for each in (plain, guarded)]
        children = [child_at(guarded, "src", IMAGE)]
        async with client:
            await push(client, targets, children, INSECURE, with_referrers=way == "with referrers")
        assert plain.tags("app") == guarded.tags("app") == {"1": str(targets[0].index.digest)}
