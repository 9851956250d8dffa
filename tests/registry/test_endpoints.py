"""How a registry is reached: verified TLS, unverified TLS or plain HTTP."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from app import errors
from app.oci.reference import parse_reference
from app.registry.client import Access, Credential, RegistryClient, RegistryPolicy
from tests.support.images import make_image, plant
from tests.support.pushes import AMD64
from tests.support.registry import (
    Hold,
    Html,
    RegistryDouble,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    connect,
    listening,
    reference_at,
    signed_in,
)

SECURE = Access()
IMAGE = make_image()
# Loopback may be reached, but no host may be insecure.
STRICT = RegistryPolicy.parse(allowed_networks=["127.0.0.0/8", "::1/128"])


async def fetch(
    double: RegistryDouble, policy: RegistryPolicy, access: Access, *, tls: ssl.SSLContext | None = None
) -> str:
    plant(double, "app", "1", IMAGE)
    async with RegistryClient(policy, limits=QUICK, tls=tls) as client:
        return str((await client.fetch_manifest(reference_at(double, "app:1"), access)).digest)


# A fatal alert of TLS: no common protocol was found.
HANDSHAKE_FAILURE = bytes([0x15, 3, 3, 0, 2, 2, 40])


async def test_an_untrusted_certificate_is_refused_and_the_error_names_the_remedy() -> None:
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
    """It has the same certificate, and deserves no more trust."""
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
async def test_a_host_listed_as_insecure_is_verified_without_a_request_for_insecure(tls: bool) -> None:
    async with RegistryDouble(tls=tls) as double:
        policy = RegistryPolicy.parse(allowed_networks=["127.0.0.0/8"], insecure_hosts=[double.host])
        with pytest.raises(errors.RegistryTlsFailed):
            await fetch(double, policy, SECURE)


async def test_a_request_for_insecure_does_not_affect_other_callers() -> None:
    async with RegistryDouble(tls=True) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        reference = reference_at(double, "app:1")
        await client.fetch_manifest(reference, INSECURE)
        with pytest.raises(errors.RegistryTlsFailed):
            await client.fetch_manifest(reference, SECURE)


async def test_the_scheme_of_a_registry_is_remembered() -> None:
    async with RegistryDouble() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        for _ in range(3):
            await client.fetch_manifest(reference_at(double, "app:1"), INSECURE)
        assert [r.path for r in double.journal if r.path == "/v2/"] == ["/v2/"]


async def test_a_name_is_resolved_like_an_address() -> None:
    async with RegistryDouble(name="localhost", tls=True) as double:
        assert await fetch(double, LOOPBACK, INSECURE) == IMAGE.digest


@pytest.mark.parametrize("answer", [b"", HANDSHAKE_FAILURE])
async def test_a_tls_handshake_that_fails_does_not_become_plain_http(answer: bytes) -> None:
    """Plain HTTP is used only if the port answers in HTTP."""
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


@pytest.mark.parametrize("path", [None, "/manifests/"])
@pytest.mark.parametrize("status", [200, 404])
async def test_a_web_page_is_no_registry(registry: RegistryDouble, path: str | None, status: int) -> None:
    registry.misbehave(Html(status), path=path, times=None)
    async with connect() as client:
        reference = reference_at(registry, "app:1")
        with pytest.raises(errors.NotARegistry):
            await client.fetch_manifest(reference, INSECURE)
        with pytest.raises(errors.NotARegistry):
            await client.head_manifest(reference, INSECURE)


async def test_one_of_two_callers_that_share_a_request_may_be_cancelled(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", AMD64)
    hold = Hold()
    registry.misbehave(hold, path="^/v2/$")
    reference = reference_at(registry, "app:1")
    async with connect() as client:
        first = asyncio.create_task(client.fetch_manifest(reference, INSECURE))
        second = asyncio.create_task(client.fetch_manifest(reference, INSECURE))
        await hold.reached.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        hold.gate.set()
        assert str((await second).digest) == AMD64.digest
