"""Whose certificates are believed, and who is shown the operator's own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from app import errors
from app.oci.manifest import ImageManifest
from app.oci.reference import parse_reference
from app.outbound.tls import read_certs_dir
from app.registry.client import Access, RegistryClient, RegistryPolicy, TlsTrust
from tests.support.certificates import CertificateAuthority, Issued
from tests.support.images import make_image, plant
from tests.support.registry import Redirect, RegistryDouble
from tests.support.registry_clients import LOOPBACK, QUICK, reference_at

SECURE = Access()
IMAGE = make_image()
HERE = "127.0.0.1"


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path)


@pytest.fixture
def identity(authority: CertificateAuthority) -> Issued:
    return authority.issue("broker")


def double_with(authority: CertificateAuthority, *, asks: bool = False) -> RegistryDouble:
    return RegistryDouble(tls=authority.server(HERE, clients=authority if asks else None))


def believing(authority: CertificateAuthority, identity: Issued | None = None) -> TlsTrust:
    certificate, key = (identity.certificate, identity.key) if identity else (None, None)
    return TlsTrust((authority.certificate,), certificate, key)


async def fetch(double: RegistryDouble, trusts: dict[str, TlsTrust], access: Access = SECURE) -> str:
    plant(double, "app", "1", IMAGE)
    async with RegistryClient(LOOPBACK, limits=QUICK, trusts=trusts) as client:
        reference = reference_at(double, "app:1")
        image = (await client.fetch_manifest(reference, access)).manifest
        assert isinstance(image, ImageManifest)
        assert await client.fetch_config(reference.repository, image.config, access) == IMAGE.config
        return str(image.manifest.digest)


async def test_a_registry_may_have_an_authority_of_its_own(authority: CertificateAuthority) -> None:
    async with double_with(authority) as double:
        assert await fetch(double, {double.host: believing(authority)}) == IMAGE.digest


async def test_an_authority_is_believed_for_its_host_and_port_only(authority: CertificateAuthority) -> None:
    async with double_with(authority) as double:
        for host in (HERE, f"{HERE}:1", f"localhost:{double.port}", f"1{double.host}"):
            with pytest.raises(errors.RegistryTlsFailed):
                await fetch(double, {host: believing(authority)})
        assert not double.journal


async def test_one_registrys_authority_says_nothing_of_another(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = CertificateAuthority(tmp_path / "other", "another authority")
    async with double_with(authority) as double:
        with pytest.raises(errors.RegistryTlsFailed, match="certificate"):
            await fetch(double, {double.host: believing(other)})


async def test_a_registry_that_requires_a_client_certificate_gets_its_own(
    authority: CertificateAuthority, identity: Issued
) -> None:
    async with double_with(authority, asks=True) as double:
        assert await fetch(double, {double.host: believing(authority, identity)}) == IMAGE.digest


async def test_an_error_without_a_client_certificate_names_the_remedy(
    authority: CertificateAuthority,
) -> None:
    """asyncio's servers keep the alert of a failed handshake to themselves, so a plain one listens here."""
    context = authority.server(HERE, clients=authority)
    with socket.create_server((HERE, 0)) as listener:
        serving = asyncio.create_task(asyncio.to_thread(_shake_hands, listener, context))
        host = f"{HERE}:{listener.getsockname()[1]}"
        async with RegistryClient(LOOPBACK, limits=QUICK, trusts={host: believing(authority)}) as client:
            with pytest.raises(errors.RegistryTlsFailed, match="client certificate"):
                await client.fetch_manifest(parse_reference(f"{host}/app:1"), SECURE)
        await serving


def _shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as guarded:
        with pytest.raises(ssl.SSLError):
            guarded.do_handshake()
        # What has come meanwhile is taken in, since a close would reset the connection under the alert.
        connection = socket.socket(fileno=guarded.detach())
        with connection:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass


async def test_a_certificate_is_shown_where_tls_is_not_verified_too(
    authority: CertificateAuthority, identity: Issued
) -> None:
    async with double_with(authority, asks=True) as double:
        trust = TlsTrust((), identity.certificate, identity.key)
        assert await fetch(double, {double.host: trust}, Access(insecure=True)) == IMAGE.digest


async def test_a_certificate_is_not_shown_where_a_redirect_leads(
    authority: CertificateAuthority, identity: Issued
) -> None:
    """Another registry that knows us could be made to act for whoever sends us there."""
    async with double_with(authority, asks=True) as private, double_with(authority) as hostile:
        plant(private, "app", "1", IMAGE)
        hostile.misbehave(Redirect(f"{private.base_url}{{target}}"), path="/blobs/", times=None)
        trusts = {private.host: believing(authority, identity), hostile.host: believing(authority)}
        with pytest.raises(errors.RegistryError):
            await fetch(hostile, trusts)
        assert not private.journal
        assert await fetch(private, trusts) == IMAGE.digest


async def test_where_a_redirect_leads_its_own_authority_is_believed(authority: CertificateAuthority) -> None:
    async with double_with(authority) as storage, double_with(authority) as double:
        plant(storage, "app", "1", IMAGE)
        double.misbehave(Redirect(f"{storage.base_url}{{target}}"), path="/blobs/", times=None)
        with pytest.raises(errors.RegistryTlsFailed):
            await fetch(double, {double.host: believing(authority)})
        both = {host: believing(authority) for host in (double.host, storage.host)}
        assert await fetch(double, both) == IMAGE.digest


async def test_operators_may_name_the_only_registries(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", IMAGE)
    for listed, allowed in ((registry.host, True), ("127.0.0.0/8", True), ("quay.io", False)):
        policy = RegistryPolicy.parse(allow_loopback=True, registries=[listed])
        async with RegistryClient(policy, limits=QUICK) as client:
            reference = reference_at(registry, "app:1")
            if allowed:
                await client.fetch_manifest(reference, Access(insecure=True))
                continue
            registry.forget()
            with pytest.raises(errors.RegistryForbidden, match="not among the registries"):
                await client.fetch_manifest(reference, Access(insecure=True))
            assert not registry.journal


def test_dockers_directory_is_understood(authority: CertificateAuthority, tmp_path: Path) -> None:
    directory = tmp_path / "certs.d"
    for host, files in {
        "lab.test:5000": ("ca.crt", "client.cert", "client.key"),
        "other.test": ("a.crt", "b.crt", "README"),
    }.items():
        (directory / host).mkdir(parents=True)
        for name in files:
            (directory / host / name).touch()
    lab, other = (directory / host for host in ("lab.test:5000", "other.test"))
    assert read_certs_dir(directory) == {
        "lab.test:5000": TlsTrust((lab / "ca.crt",), lab / "client.cert", lab / "client.key"),
        "other.test": TlsTrust((other / "a.crt", other / "b.crt")),
    }


def test_a_directory_that_is_missing_or_unclear_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidInput, match="nothing"):
        read_certs_dir(tmp_path / "nothing")
    (tmp_path / "lab.test").mkdir()
    for name in ("a.cert", "b.cert"):
        (tmp_path / "lab.test" / name).touch()
    with pytest.raises(errors.InvalidInput, match="several"):
        read_certs_dir(tmp_path)


def test_files_that_cannot_be_used_are_named(authority: CertificateAuthority, tmp_path: Path) -> None:
    """A key with a password is one of them: it would be asked for at a terminal that nobody watches."""
    good, other = authority.issue("good"), authority.issue("other")
    locked = authority.issue("locked", password=b"secret")
    (tmp_path / "noise.crt").write_text("no certificate")
    for trust, name in (
        (TlsTrust((tmp_path / "missing.crt",)), "missing.crt"),
        (TlsTrust((tmp_path / "noise.crt",)), "noise.crt"),
        (TlsTrust((), good.certificate, tmp_path / "missing.key"), "good.cert"),
        (TlsTrust((), good.certificate, other.key), "good.cert"),
        (TlsTrust((), locked.certificate, locked.key), "locked.cert"),
    ):
        with pytest.raises(errors.InvalidInput, match=name):
            trust.check()
    TlsTrust((authority.certificate,), good.certificate, good.key).check()
