"""Images and indexes made from a seed, the same bytes each time, and ways to bring them into a registry."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import httpx2

from tests.support.plain_http import plain_client
from tests.support.registry_double.server import RegistryDouble

Media = Literal["docker", "oci"]

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
IN_TOTO = "application/vnd.in-toto+json"

Document = dict[str, Any]


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Image:
    """One image: the manifest's exact bytes, its config and its layers."""

    media_type: str
    raw: bytes
    config: bytes
    layers: tuple[bytes, ...]
    platform: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of(self.raw)

    @property
    def config_digest(self) -> str:
        return digest_of(self.config)

    @property
    def blobs(self) -> dict[str, bytes]:
        """Config first, then layers, each once."""
        return {digest_of(data): data for data in (self.config, *self.layers)}

    @property
    def children(self) -> tuple[Content, ...]:
        return ()

    def descriptor(self) -> Document:
        """As an index lists it; `annotations` here are those of the listing, not of the manifest."""
        fields: Document = {"mediaType": self.media_type, "size": len(self.raw), "digest": self.digest}
        if self.annotations:
            fields["annotations"] = dict(self.annotations)
        return {**fields, "platform": dict(self.platform)} if self.platform else fields


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """An index and what it lists."""

    media_type: str
    raw: bytes
    children: tuple[Content, ...]

    @property
    def digest(self) -> str:
        return digest_of(self.raw)

    @property
    def blobs(self) -> dict[str, bytes]:
        return {}

    def descriptor(self) -> Document:
        return {"mediaType": self.media_type, "size": len(self.raw), "digest": self.digest}


Content = Image | ImageIndex


def make_image(
    *,
    os: str = "linux",
    architecture: str = "amd64",
    variant: str | None = None,
    os_version: str | None = None,
    os_features: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    layers: int | Sequence[int] = 2,
    layer_size: int = 1024,
    base: Sequence[bytes] = (),
    foreign_layers: int = 0,
    media: Media = "docker",
    seed: int | str = 0,
    config: bytes | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Image:
    """An image whose bytes depend on the arguments alone.

    `layers` is a count or a list of sizes; `base` layers come first and may be shared between images;
    `foreign_layers` are listed but nowhere to be had; `config` replaces the config's bytes; `extra` goes into
    the manifest as it is.
    """
    platform = platform_fields(os, architecture, variant, os_version, os_features)
    sizes = [layer_size] * layers if isinstance(layers, int) else list(layers)
    dice = random.Random(f"{seed}|{json.dumps(platform)}|{media}")
    content = (*base, *(dice.randbytes(size) for size in sizes))
    if config is None:
        config = config_document(platform, content, labels or {}, seed)
    listed = [layer_descriptor(data, media) for data in content]
    listed += [foreign_descriptor(dice.randbytes(32), media) for _ in range(foreign_layers)]
    return assemble(media, config=config, layers=content, listed=listed, platform=platform, extra=extra)


def platform_fields(
    os: str, architecture: str, variant: str | None, os_version: str | None, os_features: Sequence[str]
) -> Document:
    fields: Document = {"architecture": architecture, "os": os}
    optional = {"os.version": os_version, "os.features": list(os_features), "variant": variant}
    return {**fields, **{name: value for name, value in optional.items() if value}}


def config_document(
    platform: Document, layers: Sequence[bytes], labels: Mapping[str, str], seed: int | str
) -> bytes:
    document = {
        **platform,
        "created": "2026-01-02T03:04:05Z",
        "author": f"seed {seed}",
        "config": {"Cmd": ["/bin/true"], **({"Labels": dict(labels)} if labels else {})},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(b"diff " + data) for data in layers]},
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def layer_descriptor(data: bytes, media: Media) -> Document:
    media_type = DOCKER_LAYER if media == "docker" else OCI_LAYER
    return {"mediaType": media_type, "size": len(data), "digest": digest_of(data)}


def foreign_descriptor(data: bytes, media: Media) -> Document:
    digest = digest_of(data)
    media_type = DOCKER_FOREIGN_LAYER if media == "docker" else OCI_FOREIGN_LAYER
    url = f"https://layers.invalid/{digest}"
    return {"mediaType": media_type, "size": 123456, "digest": digest, "urls": [url]}


def assemble(
    media: Media,
    *,
    config: bytes,
    layers: Sequence[bytes],
    listed: Sequence[Document],
    platform: Document,
    extra: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """The manifest around them; `listed` are the layers' descriptors."""
    media_type = DOCKER_MANIFEST if media == "docker" else OCI_MANIFEST
    config_type = DOCKER_CONFIG if media == "docker" else OCI_CONFIG
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config_type, "size": len(config), "digest": digest_of(config)},
        "layers": list(listed),
        **(extra or {}),
    }
    raw = json.dumps(document, indent=3 if media == "docker" else 2, ensure_ascii=False).encode()
    return Image(str(document["mediaType"]), raw, config, tuple(layers), platform, annotations or {})


def make_index(
    children: Sequence[Content],
    *,
    media: Media = "oci",
    annotations: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> ImageIndex:
    document: Document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST if media == "docker" else OCI_INDEX,
        "manifests": [child.descriptor() for child in children],
        **({"annotations": dict(annotations)} if annotations else {}),
        **(extra or {}),
    }
    raw = json.dumps(document, indent=2, ensure_ascii=False).encode()
    return ImageIndex(str(document["mediaType"]), raw, tuple(children))


def make_buildx_index(
    platforms: Sequence[str] = ("linux/amd64", "linux/arm64"), *, seed: int | str = 0
) -> ImageIndex:
    """As buildx leaves it: the images first, then for each of them a manifest with its provenance."""
    images = [make_image_for(platform, seed=seed) for platform in platforms]
    return make_index([*images, *(make_attestation(image, seed=seed) for image in images)])


def make_image_for(platform: str, *, seed: int | str = 0, media: Media = "oci") -> Image:
    os, architecture, *variant = platform.split("/")
    return make_image(
        os=os, architecture=architecture, variant=variant[0] if variant else None, media=media, seed=seed
    )


def make_attestation(image: Image, *, seed: int | str = 0) -> Image:
    """BuildKit's attestation manifest: an image by form, in-toto statements for layers."""
    predicate = "https://slsa.dev/provenance/v1"
    subject = [{"name": f"seed {seed}", "digest": {"sha256": image.digest.partition(":")[2]}}]
    statement = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": predicate, "subject": subject}
    layer = json.dumps(statement).encode()
    listed = {
        "mediaType": IN_TOTO,
        "digest": digest_of(layer),
        "size": len(layer),
        "annotations": {"in-toto.io/predicate-type": predicate},
    }
    platform = {"architecture": "unknown", "os": "unknown"}
    rootfs = {"type": "layers", "diff_ids": [digest_of(layer)]}
    config = json.dumps({**platform, "config": {}, "rootfs": rootfs}, separators=(",", ":")).encode()
    ties = {
        "vnd.docker.reference.digest": image.digest,
        "vnd.docker.reference.type": "attestation-manifest",
    }
    return assemble(
        "oci", config=config, layers=[layer], listed=[listed], platform=platform, annotations=ties
    )


EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def make_referrer(
    subject: Content,
    *,
    artifact_type: str | None = "application/vnd.example.signature.v1",
    annotations: Mapping[str, str] | None = None,
    seed: int | str = 0,
    layers: int = 1,
    media_type: str | None = None,
) -> Image:
    """A signature or the like of something: an artifact that names it as its subject."""
    dice = random.Random(f"referrer {seed} {subject.digest}")
    content = [dice.randbytes(512) for _ in range(layers)]
    document = {
        "schemaVersion": 2,
        "mediaType": media_type or OCI_MANIFEST,
        **({"artifactType": artifact_type} if artifact_type else {}),
        "config": {"mediaType": EMPTY_TYPE, "size": 2, "digest": digest_of(b"{}")},
        "layers": [layer_descriptor(data, "oci") for data in content],
        "subject": subject.descriptor(),
        **({"annotations": dict(annotations)} if annotations else {}),
    }
    raw = json.dumps(document).encode()
    return Image(str(document["mediaType"]), raw, b"{}", tuple(content))


# --- into a registry ---


class Addressed(Protocol):
    """Anything that says where it answers."""

    @property
    def base_url(self) -> str: ...


def walk(content: Content) -> Iterator[Content]:
    """Children before what lists them."""
    for child in content.children:
        yield from walk(child)
    yield content


async def seed(
    registry: Addressed | str,
    repository: str,
    tag: str | None,
    content: Content,
    *,
    client: httpx2.AsyncClient | None = None,
) -> str:
    """Push by plain HTTP, as a careful client would, and return the digest; None leaves it untagged.

    A client of one's own brings credentials and trust with it.
    """
    base_url = registry if isinstance(registry, str) else registry.base_url
    if client is not None:
        return await _push(client, base_url, repository, tag, content)
    async with plain_client(timeout=60) as own:
        return await _push(own, base_url, repository, tag, content)


async def _push(
    client: httpx2.AsyncClient, base_url: str, repository: str, tag: str | None, content: Content
) -> str:
    root = f"{base_url}/v2/{repository}"
    for part in walk(content):
        for digest, data in part.blobs.items():
            await _push_blob(client, root, digest, data)
        reference = tag if tag is not None and part is content else part.digest
        reply = await client.put(
            f"{root}/manifests/{reference}", content=part.raw, headers={"Content-Type": part.media_type}
        )
        _expect(reply, 201)
    return content.digest


async def _push_blob(client: httpx2.AsyncClient, root: str, digest: str, data: bytes) -> None:
    begun = await client.post(f"{root}/blobs/uploads/")
    _expect(begun, 202)
    location = begun.request.url.join(begun.headers["Location"]).copy_add_param("digest", digest)
    _expect(await client.put(location, content=data), 201)


def _expect(reply: httpx2.Response, status: int) -> None:
    if reply.status_code != status:
        raise AssertionError(f"{reply.request.method} {reply.request.url}: {reply.status_code} {reply.text}")


def plant(double: RegistryDouble, repository: str, tag: str | None, content: Content) -> str:
    """Put it there past the wire: no request in the journal, no credentials needed."""
    for part in walk(content):
        for data in part.blobs.values():
            double.add_blob(repository, data)
        double.add_manifest(repository, tag if part is content else None, part.raw, part.media_type)
    return content.digest
