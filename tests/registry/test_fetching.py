"""Manifests and configs from registries that are right, wrong, slow, huge or no registries."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import digest_of, parse_digest
from app.oci.manifest import ImageManifest, Index
from app.oci.reference import Reference, parse_reference
from app.registry.client import Access, Credential, FetchedManifest, RegistryClient, RegistryPolicy
from tests.support.docker_registry import free_port
from tests.support.images import make_buildx_index, make_image, plant, seed
from tests.support.registry import (
    ContentType,
    Drip,
    Endless,
    Fault,
    FlippedByte,
    Gzipped,
    Html,
    Meanwhile,
    OtherBody,
    Oversize,
    Redirect,
    RegistryDouble,
    Reset,
    Silence,
    Status,
    Truncated,
    WithoutHeader,
    WrongDigestHeader,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    AnyRegistry,
    Clock,
    listening,
    reference_at,
    repository_at,
    signed_in,
)

IMAGE = make_image()
MIB = 1024 * 1024
TYPES = {
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
}


def connect(policy: RegistryPolicy = LOOPBACK) -> AbstractAsyncContextManager[RegistryClient]:
    return RegistryClient(policy, limits=QUICK)


def config_of(registry: AnyRegistry) -> Descriptor:
    return Descriptor("application/json", digest_of(IMAGE.config), len(IMAGE.config))


async def test_a_manifest_comes_as_it_is_stored(any_registry: AnyRegistry) -> None:
    digest = await seed(any_registry, "fetching/exact", "1", IMAGE)
    async with connect() as client:
        for rest in ("fetching/exact:1", f"fetching/exact@{digest}", f"fetching/exact:gone@{digest}"):
            fetched = await client.fetch_manifest(reference_at(any_registry, rest), INSECURE)
            assert fetched.raw.raw == IMAGE.raw
            assert fetched.raw.media_type == IMAGE.media_type
            assert isinstance(fetched.manifest, ImageManifest)


async def test_an_index_comes_as_an_index(any_registry: AnyRegistry) -> None:
    index = make_buildx_index()
    await seed(any_registry, "fetching/index", "1", index)
    async with connect() as client:
        fetched = await client.fetch_manifest(reference_at(any_registry, "fetching/index:1"), INSECURE)
        assert isinstance(fetched.manifest, Index)
        assert fetched.raw.raw == index.raw


async def test_a_config_comes_verified(any_registry: AnyRegistry) -> None:
    await seed(any_registry, "fetching/config", "1", IMAGE)
    async with connect() as client:
        repository = repository_at(any_registry, "fetching/config")
        assert await client.fetch_config(repository, config_of(any_registry), INSECURE) == IMAGE.config


async def test_head_describes_and_none_means_that_there_is_none(any_registry: AnyRegistry) -> None:
    await seed(any_registry, "fetching/head", "1", IMAGE)
    async with connect() as client:
        found = await client.head_manifest(reference_at(any_registry, "fetching/head:1"), INSECURE)
        assert found == Descriptor(IMAGE.media_type, parse_digest(IMAGE.digest), len(IMAGE.raw))
        for rest in ("fetching/head:2", "fetching/absent:1"):
            assert await client.head_manifest(reference_at(any_registry, rest), INSECURE) is None


@pytest.mark.parametrize("rest", ["fetching/missing:1", "fetching/missing@sha256:" + "0" * 64])
async def test_what_is_not_there_is_not_found(any_registry: AnyRegistry, rest: str) -> None:
    reference = reference_at(any_registry, rest)
    async with connect() as client:
        with pytest.raises(errors.SourceNotFound) as caught:
            await client.fetch_manifest(reference, INSECURE)
    assert caught.value.members["reference"] == str(reference)
    assert caught.value.members["upstream_status"] == 404
    assert caught.value.members["upstream_code"] in {"MANIFEST_UNKNOWN", "NAME_UNKNOWN"}


async def test_all_four_types_are_accepted_and_no_compression(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", IMAGE)
    async with connect() as client:
        await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    sent = registry.received("GET", "/manifests/")[0].headers
    assert set(sent["Accept"].split(", ")) == TYPES
    assert sent["Accept-Encoding"] == "identity"
    assert "Cookie" not in sent


async def test_cookies_are_not_kept(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(Status(200, b"{}", {"Set-Cookie": "tracked=1"}), path="^/v2/$")
    async with connect() as client:
        await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert not [r for r in registry.journal if "Cookie" in r.headers]


async def test_proxies_and_passwords_of_the_environment_are_not_used(
    registry: RegistryDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    plant(registry, "app", "1", IMAGE)
    async with connect() as client:
        await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert not [r for r in registry.journal if "Authorization" in r.headers]


# --- digests ---


@pytest.mark.parametrize("fault", [FlippedByte(), OtherBody(make_image(seed=9).raw), WrongDigestHeader()])
async def test_bytes_that_are_not_what_the_registry_says_are_refused(
    registry: RegistryDouble, fault: Fault
) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(fault, method="GET", path="/manifests/", times=None)
    async with connect() as client:
        with pytest.raises(errors.DigestMismatch) as caught:
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert caught.value.members["registry"] == registry.host


async def test_a_pinned_digest_counts_and_not_the_header(registry: RegistryDouble) -> None:
    other = make_image(seed=9)
    plant(registry, "app", "1", IMAGE)
    reference = reference_at(registry, f"app@{IMAGE.digest}")
    async with connect() as client:
        registry.misbehave(OtherBody(other.raw), method="GET", path="/manifests/")
        with pytest.raises(errors.DigestMismatch):
            await client.fetch_manifest(reference, INSECURE)
        registry.misbehave(WrongDigestHeader(other.digest), method="GET", path="/manifests/")
        assert (await client.fetch_manifest(reference, INSECURE)).raw.raw == IMAGE.raw


async def test_without_the_header_the_bytes_are_hashed(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(WithoutHeader(), times=None)
    async with connect() as client:
        reference = reference_at(registry, "app:1")
        assert str((await client.fetch_manifest(reference, INSECURE)).digest) == IMAGE.digest
        found = await client.head_manifest(reference, INSECURE)
        assert found is not None
        assert (str(found.digest), found.size, found.media_type) == (
            IMAGE.digest,
            len(IMAGE.raw),
            IMAGE.media_type,
        )


@pytest.mark.parametrize("code", [401, 403, 405, 501])
async def test_where_head_is_refused_get_answers(registry: RegistryDouble, code: int) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(Status(code), method="HEAD", times=None)
    async with connect() as client:
        found = await client.head_manifest(reference_at(registry, "app:1"), INSECURE)
    assert found is not None
    assert str(found.digest) == IMAGE.digest


@pytest.mark.parametrize(("code", "heads"), [(405, 1), (501, 1), (403, 4)])
async def test_that_head_is_unknown_is_remembered_for_a_while(
    registry: RegistryDouble, code: int, heads: int
) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(Status(code), method="HEAD", times=None)
    clock = Clock()
    async with RegistryClient(LOOPBACK, limits=QUICK, now=clock) as client:
        for _ in range(4):
            await client.head_manifest(reference_at(registry, "app:1"), INSECURE)
        assert len(registry.received("HEAD")) == heads
        registry.behave()
        clock.pass_by(QUICK.remembered_seconds)
        await client.head_manifest(reference_at(registry, "app:1"), INSECURE)
        assert len(registry.received("HEAD")) == heads + 1


@pytest.mark.parametrize("what", ["/manifests/", "/blobs/"])
async def test_what_was_cut_off_without_a_length_is_asked_for_again(
    registry: RegistryDouble, what: str
) -> None:
    plant(registry, "app", "1", IMAGE)
    cut = Truncated(with_length=False)
    rule = registry.misbehave(cut, method="GET", path=what, times=QUICK.attempts - 1)
    async with connect() as client:
        await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
        await client.fetch_config(repository_at(registry, "app"), config_of(registry), INSECURE)
    assert rule.hits == QUICK.attempts - 1


@pytest.mark.parametrize(
    "fault", [FlippedByte(), Truncated(), OtherBody(b"x"), Oversize(len(IMAGE.config) + 1)]
)
async def test_a_config_with_other_bytes_is_refused(registry: RegistryDouble, fault: Fault) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(fault, path="/blobs/", times=None)
    async with connect() as client:
        with pytest.raises((errors.DigestMismatch, errors.RegistryUnreachable)):
            await client.fetch_config(repository_at(registry, "app"), config_of(registry), INSECURE)


@pytest.mark.parametrize("with_length", [True, False])
async def test_a_manifest_that_ends_early_is_never_taken_for_whole(
    registry: RegistryDouble, with_length: bool
) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(Truncated(with_length=with_length), method="GET", path="/manifests/", times=None)
    async with connect() as client:
        with pytest.raises((errors.DigestMismatch, errors.RegistryUnreachable)):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)


async def test_a_config_that_says_to_be_huge_is_not_asked_for(registry: RegistryDouble) -> None:
    huge = replace(config_of(registry), size=QUICK.config_bytes + 1)
    async with connect() as client:
        with pytest.raises(errors.SourceTooLarge):
            await client.fetch_config(repository_at(registry, "app"), huge, INSECURE)
    assert not registry.journal


# --- size and time ---


async def test_a_manifest_of_4_mib_is_read_and_one_byte_more_is_not(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", IMAGE)
    reference = reference_at(registry, "app:1")
    async with connect() as client:
        for size, fits in ((4 * MIB, True), (4 * MIB + 1, False)):
            raw = IMAGE.raw.ljust(size)
            registry.add_manifest("app", "1", raw, IMAGE.media_type)
            if fits:
                assert (await client.fetch_manifest(reference, INSECURE)).raw.raw == raw
            else:
                with pytest.raises(errors.SourceTooLarge):
                    await client.fetch_manifest(reference, INSECURE)


@pytest.mark.parametrize("fault", [Endless(), Gzipped(), Gzipped("br"), Gzipped("x-gzip, zstd")])
async def test_what_has_no_end_or_is_compressed_is_refused(registry: RegistryDouble, fault: Fault) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(fault, method="GET", path="/manifests/", times=None)
    async with connect() as client:
        with pytest.raises((errors.SourceTooLarge, errors.SourceInvalid)):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)


@pytest.mark.parametrize("fault", [Silence(), Drip(interval=0.2)])
async def test_a_call_has_a_deadline_whatever_the_registry_does(
    registry: RegistryDouble, fault: Fault
) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(fault, method="GET", path="/manifests/", times=None)
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, call_seconds=0.5)) as client:
        with pytest.raises(errors.RegistryTimeout) as caught:
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert caught.value.retryable
    assert caught.value.members["registry"] == registry.host


async def test_a_port_that_accepts_and_says_nothing_ends_too() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        listening(say_nothing) as port,
        RegistryClient(LOOPBACK, limits=replace(QUICK, call_seconds=0.5)) as client,
    ):
        for access in (INSECURE, replace(INSECURE, insecure=False)):
            with pytest.raises(errors.RegistryTimeout):
                await client.fetch_manifest(parse_reference(f"127.0.0.1:{port}/app:1"), access)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(9000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 4000) for n in range(20)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
    ],
)
async def test_what_is_not_http_or_has_too_many_headers_is_no_registry(answer: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start = await reader.read(3)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" if start[:1] == b"\x16" else answer)
        await writer.drain()
        writer.close()

    async with listening(say) as port, connect() as client:
        with pytest.raises((errors.NotARegistry, errors.RegistryUnreachable)):
            await client.fetch_manifest(parse_reference(f"127.0.0.1:{port}/app:1"), INSECURE)


# --- no registry, no connection ---


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


@pytest.mark.parametrize("media_type", ["text/plain", "image/png", "text/html; charset=utf-8"])
async def test_an_answer_of_another_kind_is_no_manifest(registry: RegistryDouble, media_type: str) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(ContentType(media_type), method="GET", path="/manifests/")
    async with connect() as client:
        with pytest.raises(errors.NotARegistry):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)


@pytest.mark.parametrize(
    "media_type", [None, "application/octet-stream", IMAGE.media_type + "; charset=utf-8"]
)
async def test_a_missing_or_decorated_type_is_understood(
    registry: RegistryDouble, media_type: str | None
) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(ContentType(media_type), method="GET", path="/manifests/")
    async with connect() as client:
        fetched = await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert fetched.raw.media_type == IMAGE.media_type


async def test_a_source_that_cannot_be_used_is_named(registry: RegistryDouble) -> None:
    raw = json.dumps({"schemaVersion": 1, "name": "app"}).encode()
    registry.add_manifest("app", "1", raw, "application/vnd.docker.distribution.manifest.v1+prettyjws")
    registry.add_manifest("app", "2", b"{", IMAGE.media_type)
    async with connect() as client:
        for tag, expected in (("1", errors.SourceUnsupported), ("2", errors.SourceInvalid)):
            reference = reference_at(registry, f"app:{tag}")
            with pytest.raises(expected) as caught:
                await client.fetch_manifest(reference, INSECURE)
            assert caught.value.members["reference"] == str(reference)


async def test_a_closed_port_is_unreachable() -> None:
    port = free_port()
    async with connect() as client:
        with pytest.raises(errors.RegistryUnreachable) as caught:
            await client.fetch_manifest(parse_reference(f"127.0.0.1:{port}/app:1"), INSECURE)
    assert caught.value.members["registry"] == f"127.0.0.1:{port}"
    assert caught.value.retryable


async def test_a_name_that_does_not_exist_is_unreachable() -> None:
    async with connect() as client:
        with pytest.raises(errors.RegistryUnreachable, match="resolved"):
            await client.fetch_manifest(
                parse_reference("registry.invalid/app:1"), replace(INSECURE, insecure=False)
            )


# --- trouble that passes ---


@pytest.mark.parametrize("fault", [Reset(), Status(503), Status(502), Status(429), Status(500), Html(504)])
async def test_trouble_that_passes_is_sat_out(registry: RegistryDouble, fault: Fault) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(fault, method="GET", path="/manifests/", times=QUICK.attempts - 1)
    async with connect() as client:
        fetched = await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert fetched.raw.raw == IMAGE.raw


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Status(503), errors.RegistryUnavailable),
        (Status(429, headers={"Retry-After": "0"}), errors.RateLimited),
        (Status.oci(403, "DENIED", "secondary rate limit"), errors.RateLimited),
        (Reset(), errors.RegistryUnreachable),
    ],
)
async def test_attempts_are_bounded(
    registry: RegistryDouble, fault: Fault, expected: type[errors.BrokerError]
) -> None:
    registry.misbehave(fault, method="GET", path="/manifests/", times=None)
    async with connect() as client:
        with pytest.raises(expected):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert len(registry.received("GET", "/manifests/")) == QUICK.attempts


async def test_a_wait_longer_than_the_call_is_handed_to_the_caller(registry: RegistryDouble) -> None:
    limited = Status(429, headers={"Retry-After": "120"})
    registry.misbehave(limited, method="GET", path="/manifests/", times=None)
    async with connect() as client:
        with pytest.raises(errors.RateLimited) as caught:
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert caught.value.retry_after == 120
    assert len(registry.received("GET", "/manifests/")) == 1


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 409])
async def test_what_does_not_pass_is_asked_once(registry: RegistryDouble, code: int) -> None:
    registry.misbehave(Status(code, b"{}"), method="GET", path="/manifests/", times=None)
    async with connect() as client:
        with pytest.raises(errors.RegistryError):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert len(registry.received("GET", "/manifests/")) == 1


async def test_requests_to_one_host_are_bounded(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", IMAGE)
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, concurrency=3)) as client:
        reference = reference_at(registry, "app:1")
        await asyncio.gather(*(client.fetch_manifest(reference, INSECURE) for _ in range(30)))
    assert registry.log.peak_in_flight <= 3


# --- addresses and redirects ---


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_an_address_that_is_not_public_is_not_connected_to(name: str) -> None:
    connected = asyncio.Event()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        writer.close()

    async with listening(note) as port, connect(RegistryPolicy()) as client:
        with pytest.raises(errors.RegistryForbidden):
            await client.fetch_manifest(
                parse_reference(f"{name}:{port}/app:1"), replace(INSECURE, insecure=False)
            )
        assert not connected.is_set()


def redirected(
    double: RegistryDouble, location: str, *, status: int = 307, times: int | None = 1
) -> Reference:
    plant(double, "app", "1", IMAGE)
    double.misbehave(Redirect(location, status=status), path="/blobs/", times=times)
    return reference_at(double, "app:1")


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
        config = await client.fetch_config(repository_at(double, "app"), config_of(double), access)
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
        config = await client.fetch_config(repository_at(double, "app"), config_of(double), access)
    assert config == IMAGE.config


async def test_a_401_from_a_redirects_target_is_not_answered() -> None:
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
            await client.fetch_config(repository_at(double, "app"), config_of(double), access)
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
            await client.fetch_config(repository_at(registry, "app"), config_of(registry), INSECURE)


async def test_redirects_end(registry: RegistryDouble) -> None:
    redirected(registry, "{target}", times=None)
    async with connect() as client:
        with pytest.raises(errors.NotARegistry, match="too often"):
            await client.fetch_config(repository_at(registry, "app"), config_of(registry), INSECURE)
    assert len(registry.received(path="/blobs/")) <= QUICK.redirects + 2


async def test_tls_is_not_given_up_by_a_redirect() -> None:
    async with RegistryDouble() as plain, RegistryDouble(tls=True) as double, connect() as client:
        plant(plain, "app", None, IMAGE)
        redirected(double, f"{plain.base_url}{{target}}")
        with pytest.raises(errors.UntrustedOrigin, match="TLS"):
            await client.fetch_config(repository_at(double, "app"), config_of(double), INSECURE)
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


async def test_a_head_that_speaks_of_something_else_is_no_answer(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(WrongDigestHeader(), method="HEAD", path="/manifests/")
    async with connect() as client:
        found = await client.head_manifest(reference_at(registry, f"app@{IMAGE.digest}"), INSECURE)
    assert found is not None
    assert str(found.digest) == IMAGE.digest
    assert [r.method for r in registry.received(path="/manifests/")] == ["HEAD", "GET"]


async def test_foreign_layers_are_listed_and_never_followed(registry: RegistryDouble) -> None:
    image = make_image(foreign_layers=2)
    plant(registry, "app", "1", image)
    async with connect() as client:
        fetched = await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert isinstance(fetched.manifest, ImageManifest)
    assert len(fetched.manifest.layers) == len(fetched.manifest.copyable_blobs) - 1 + 2


async def test_an_unused_client_and_a_closed_one_say_so() -> None:
    client = RegistryClient(LOOPBACK)
    with pytest.raises(RuntimeError, match="async with"):
        await client.fetch_manifest(parse_reference("127.0.0.1:1/app"), INSECURE)
    async with client:
        pass
    with pytest.raises(RuntimeError, match="async with"):
        await client.head_manifest(parse_reference("127.0.0.1:1/app"), INSECURE)


async def test_a_connection_that_is_not_made_in_time_is_tried_again() -> None:
    asked: list[str] = []

    async def look_up(host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
        asked.append(host)
        if len(asked) == 1:
            await asyncio.Event().wait()
        return [("127.0.0.1", int(socket.AF_INET))]

    limits = replace(QUICK, connect_seconds=0.5)
    async with (
        RegistryDouble(name="localhost") as double,
        RegistryClient(LOOPBACK, limits=limits, lookup=look_up) as client,
    ):
        assert await client.head_manifest(reference_at(double, "app:1"), INSECURE) is None
    assert set(asked) == {"localhost"}


async def test_the_time_that_answers_take_is_time_of_the_call(registry: RegistryDouble) -> None:
    """Not only the waits between them are: a call has its time, however it is spent."""
    clock = Clock()
    busy = Meanwhile(503, happens=lambda: clock.pass_by(QUICK.call_seconds * 0.6))
    registry.misbehave(busy, path="/manifests/", times=None)
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, attempts=9), now=clock) as client:
        with pytest.raises(errors.RegistryUnavailable):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert len(registry.received(path="/manifests/")) == 2


async def fetch_behind(front: RegistryDouble, *listed: str, auth: Access = INSECURE) -> FetchedManifest:
    policy = replace(LOOPBACK, redirect_hosts={front.host: listed})
    async with RegistryClient(policy, limits=QUICK) as client:
        return await client.fetch_manifest(reference_at(front, "app:1"), auth)


async def test_manifests_may_lie_where_the_operator_says() -> None:
    """As those of registry.k8s.io do; no credential goes there, and what comes is hashed."""
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
    """Nor back to the registry, which is then one that gives its manifests to anyone."""
    user = {"user": "canary-5ecret"}
    async with RegistryDouble(auth="basic", users=user) as double:
        plant(double, "app", "1", IMAGE)
        double.misbehave(Redirect("{target}?again"), path="/manifests/")
        access = signed_in(double.host, Credential("user", user["user"]))
        with pytest.raises(errors.RegistryDenied):
            await fetch_behind(double, double.host, auth=access)
        assert ["Authorization" in r.headers for r in double.received("GET", "/manifests/")] == [True, False]


async def test_a_redirect_of_a_manifest_to_elsewhere_is_followed_by_nobody(registry: RegistryDouble) -> None:
    async with RegistryDouble() as elsewhere:
        plant(elsewhere, "app", "1", make_image())
        registry.misbehave(Redirect(elsewhere.base_url + "{target}"), path="/manifests/", times=None)
        with pytest.raises(errors.NotARegistry):
            await fetch_behind(registry, "other.test")
        assert not elsewhere.journal


async def test_redirects_of_manifests_come_to_an_end(registry: RegistryDouble) -> None:
    registry.misbehave(Redirect(registry.base_url + "{target}"), path="/manifests/", times=None)
    with pytest.raises(errors.NotARegistry):
        await fetch_behind(registry, registry.host)
    assert len(registry.received("GET", "/manifests/")) == 1 + QUICK.redirects
