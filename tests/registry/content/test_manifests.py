"""Manifests: looked up, fetched, verified and put."""

from __future__ import annotations

import json

import pytest

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import parse_digest
from app.oci.manifest import ImageManifest, Index
from app.registry.client import RegistryClient
from tests.support.images import make_buildx_index, make_image, plant, seed
from tests.support.pushes import AMD64
from tests.support.registry import (
    ContentType,
    Fault,
    FlippedByte,
    OtherBody,
    OtherStatus,
    RegistryDouble,
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
    child_at,
    config_of,
    connect,
    push_one,
    reference_at,
    repository_at,
    target_at,
)

IMAGE = make_image()
MIB = 1024 * 1024
TYPES = {
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
}


async def test_a_manifest_is_fetched_byte_for_byte(any_registry: AnyRegistry) -> None:
    digest = await seed(any_registry, "fetching/exact", "1", IMAGE)
    async with connect() as client:
        for rest in ("fetching/exact:1", f"fetching/exact@{digest}", f"fetching/exact:gone@{digest}"):
            fetched = await client.fetch_manifest(reference_at(any_registry, rest), INSECURE)
            assert fetched.raw.raw == IMAGE.raw
            assert fetched.raw.media_type == IMAGE.media_type
            assert isinstance(fetched.manifest, ImageManifest)


async def test_an_index_is_fetched_as_an_index(any_registry: AnyRegistry) -> None:
    index = make_buildx_index()
    await seed(any_registry, "fetching/index", "1", index)
    async with connect() as client:
        fetched = await client.fetch_manifest(reference_at(any_registry, "fetching/index:1"), INSECURE)
        assert isinstance(fetched.manifest, Index)
        assert fetched.raw.raw == index.raw


async def test_head_returns_a_descriptor_or_none(any_registry: AnyRegistry) -> None:
    await seed(any_registry, "fetching/head", "1", IMAGE)
    async with connect() as client:
        found = await client.head_manifest(reference_at(any_registry, "fetching/head:1"), INSECURE)
        assert found == Descriptor(IMAGE.media_type, parse_digest(IMAGE.digest), len(IMAGE.raw))
        for rest in ("fetching/head:2", "fetching/absent:1"):
            assert await client.head_manifest(reference_at(any_registry, rest), INSECURE) is None


@pytest.mark.parametrize("rest", ["fetching/missing:1", "fetching/missing@sha256:" + "0" * 64])
async def test_a_missing_manifest_is_not_found(any_registry: AnyRegistry, rest: str) -> None:
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


@pytest.mark.parametrize("fault", [FlippedByte(), OtherBody(make_image(seed=9).raw), WrongDigestHeader()])
async def test_bytes_with_another_digest_than_stated_are_refused(
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
async def test_a_registry_without_head_is_remembered_for_a_while(
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
async def test_a_truncated_manifest_without_a_length_is_requested_again(
    registry: RegistryDouble, what: str
) -> None:
    plant(registry, "app", "1", IMAGE)
    cut = Truncated(with_length=False)
    rule = registry.misbehave(cut, method="GET", path=what, times=QUICK.attempts - 1)
    async with connect() as client:
        await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
        await client.fetch_config(repository_at(registry, "app"), config_of(IMAGE), INSECURE)
    assert rule.hits == QUICK.attempts - 1


@pytest.mark.parametrize("target", ["app:1", f"app@{IMAGE.digest}"])
async def test_a_lookup_without_head_reads_a_truncated_manifest_again(
    registry: RegistryDouble, target: str
) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(Status(405), method="HEAD", times=None)
    cut = Truncated(with_length=False)
    rule = registry.misbehave(cut, method="GET", path="/manifests/", times=QUICK.attempts - 1)
    async with connect() as client:
        found = await client.head_manifest(reference_at(registry, target), INSECURE)
    assert found is not None
    assert (str(found.digest), rule.hits) == (IMAGE.digest, QUICK.attempts - 1)


@pytest.mark.parametrize("with_length", [True, False])
async def test_a_truncated_manifest_never_counts_as_whole(
    registry: RegistryDouble, with_length: bool
) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(Truncated(with_length=with_length), method="GET", path="/manifests/", times=None)
    async with connect() as client:
        with pytest.raises((errors.DigestMismatch, errors.RegistryUnreachable)):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)


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


async def test_a_page_of_plain_text_is_no_manifest(registry: RegistryDouble) -> None:
    page = Status(200, b"It works!\n", {"Content-Type": "text/plain"})
    registry.misbehave(page, method="GET", path="/manifests/")
    async with connect() as client:
        with pytest.raises(errors.NotARegistry):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)


@pytest.mark.parametrize("media_type", ["text/csv", "image/png", "text/html; charset=utf-8"])
async def test_an_answer_of_another_kind_is_no_manifest(registry: RegistryDouble, media_type: str) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(ContentType(media_type), method="GET", path="/manifests/")
    async with connect() as client:
        with pytest.raises(errors.NotARegistry):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)


@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "application/octet-stream",
        "text/plain",
        "text/plain; charset=utf-8",
        IMAGE.media_type + "; charset=utf-8",
    ],
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


async def test_a_head_with_another_digest_is_ignored(registry: RegistryDouble) -> None:
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


@pytest.mark.parametrize("status", [200, 202])
async def test_every_success_status_accepts_a_manifest(registry: RegistryDouble, status: int) -> None:
    plant(registry, "src", "1", AMD64)
    registry.misbehave(OtherStatus(status), method="PUT", path="/manifests/", times=None)
    target = target_at(registry, "app", [AMD64])
    async with connect() as client:
        await push_one(client, target, [child_at(registry, "src", AMD64)], INSECURE)
    assert registry.tags("app")["1"] == str(target.index.digest)


async def test_a_registry_that_stores_another_digest_fails_the_put(
    registry: RegistryDouble,
) -> None:
    """Children are not read back, so the answer to their PUT is the only check."""
    plant(registry, "src", "1", AMD64)
    registry.misbehave(WrongDigestHeader(), method="PUT", path=f"/manifests/{AMD64.digest}")
    target, children = target_at(registry, "app", [AMD64]), [child_at(registry, "src", AMD64)]
    async with connect() as client:
        with pytest.raises(errors.PushNotVerified, match=AMD64.digest) as caught:
            await push_one(client, target, children, INSECURE)
    assert not caught.value.retryable
    assert not registry.tags("app")
