"""The media types of manifests, configs and layers."""

from __future__ import annotations

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
# A WebAssembly artifact (CNCF TAG Runtime, "Wasm OCI Artifact layout").
WASM_CONFIG = "application/vnd.wasm.config.v0+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
# BuildKit's attestations are images whose layers are of this type.
IN_TOTO = "application/vnd.in-toto+json"
BUILDKIT_ATTESTATION = "application/vnd.docker.attestation.manifest.v1+json"
OCTET_STREAM = "application/octet-stream"

MANIFEST_TYPES = (DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX)
INDEX_TYPES = (DOCKER_LIST, OCI_INDEX)
IMAGE_TYPES = (DOCKER_MANIFEST, OCI_MANIFEST)
DOCKER_TYPES = (DOCKER_MANIFEST, DOCKER_LIST)
OCI_TYPES = (OCI_MANIFEST, OCI_INDEX)
SCHEMA1_TYPES = (DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED)
# The default media types of file servers such as S3 (binary) and nginx (plain text).
GENERIC_TYPES = frozenset({"", OCTET_STREAM, "binary/octet-stream", "application/json", "text/plain"})

DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
FOREIGN_LAYER_TYPES = frozenset(
    {
        DOCKER_FOREIGN_LAYER,
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    }
)

IMAGE_CONFIG_TYPES = frozenset({DOCKER_CONFIG, OCI_CONFIG})
# Values of `artifactType` that do not turn an image into an artifact (image-spec descriptor.md).
RUNNABLE_TYPES = IMAGE_CONFIG_TYPES | {WASM_CONFIG}
# Old registries and Docker versions wrote these for images (distribution#1621, moby#22378).
LEGACY_CONFIG_TYPES = frozenset({OCTET_STREAM, "application/json", "text/html"})


def is_index(media_type: str) -> bool:
    return media_type in INDEX_TYPES


def is_image(media_type: str) -> bool:
    return media_type in IMAGE_TYPES


def is_foreign_layer(media_type: str) -> bool:
    """Whether only the owner may distribute the layer; such a layer stays at its `urls`, if it has any."""
    return media_type in FOREIGN_LAYER_TYPES


def bare(content_type: str | None) -> str:
    """A Content-Type without its parameters; types are case-insensitive (RFC 9110 §8.3.1)."""
    return (content_type or "").partition(";")[0].strip().lower()
