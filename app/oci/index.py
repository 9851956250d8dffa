"""Indexes, byte for byte as `docker manifest push` serialises them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import assert_never

from app.errors import InvalidInput
from app.oci import gojson, media_types
from app.oci.descriptor import Descriptor
from app.oci.manifest import Manifest
from app.oci.platform import Platform
from app.oci.strict_json import Json

_INDENT = "   "


class Format(StrEnum):
    AUTO = "auto"
    DOCKER = "docker"
    OCI = "oci"


def sort_key(reference: str) -> tuple[bytes, bytes]:
    """Docker orders entries by their file names; entries with the same file name are ordered by reference."""
    file_name = reference.replace(":", "-").replace("/", "_")
    return file_name.encode(), reference.encode()


def build_index(
    descriptors: Sequence[Descriptor],
    *,
    format: Format = Format.AUTO,  # noqa: A002
    annotations: Mapping[str, str] | None = None,
    artifact_type: str | None = None,
    subject: Descriptor | None = None,
) -> Manifest:
    """The index of these descriptors, in this order.

    Without annotations, artifact type, subject and data these are Docker's bytes; Docker's own descriptors
    have `urls` and `features`, too. With them the document is an OCI index that extends the same
    serialisation in image-spec's order: artifactType after mediaType, subject and annotations after
    manifests, and in an entry annotations, data and artifactType after platform.
    """
    extended = bool(annotations or artifact_type or subject) or any(map(_is_extended, descriptors))
    media_type = _media_type(format, descriptors, extended=extended)
    document: dict[str, Json] = {"schemaVersion": 2, "mediaType": media_type}
    if artifact_type:
        document["artifactType"] = artifact_type
    document["manifests"] = [_entry(descriptor) for descriptor in descriptors]
    if subject is not None:
        document["subject"] = _reference_to(subject)
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    return Manifest.of(media_type, gojson.marshal(document, _INDENT))


def _media_type(wanted: Format, descriptors: Sequence[Descriptor], *, extended: bool) -> str:
    match wanted:
        case Format.DOCKER:
            if extended:
                raise InvalidInput(
                    "Docker's manifest list has no annotations, artifact type or subject. Use the format oci."
                )
            return media_types.DOCKER_LIST
        case Format.OCI:
            return media_types.OCI_INDEX
        case Format.AUTO:
            first_is_oci = bool(descriptors) and descriptors[0].media_type == media_types.OCI_MANIFEST
            return media_types.OCI_INDEX if extended or first_is_oci else media_types.DOCKER_LIST
        case _:
            assert_never(wanted)


def _is_extended(descriptor: Descriptor) -> bool:
    return bool(descriptor.annotations or descriptor.artifact_type or descriptor.data is not None)


def _entry(descriptor: Descriptor) -> dict[str, Json]:
    document = _reference_to(descriptor)
    if descriptor.urls:
        document["urls"] = list(descriptor.urls)
    if descriptor.platform is not None or not descriptor.artifact_type:
        platform = descriptor.platform if descriptor.platform is not None else Platform()
        features: dict[str, Json] = {"features": list(descriptor.features)} if descriptor.features else {}
        document["platform"] = {**platform.document(), **features}
    if descriptor.annotations:
        document["annotations"] = dict(sorted(descriptor.annotations.items()))
    if descriptor.data is not None:
        document["data"] = descriptor.data
    if descriptor.artifact_type:
        document["artifactType"] = descriptor.artifact_type
    return document


def _reference_to(descriptor: Descriptor) -> dict[str, Json]:
    """A descriptor with the size before the digest, as in Docker's struct; OCI indexes have it too."""
    document: dict[str, Json] = {"mediaType": descriptor.media_type}
    if descriptor.size:
        document["size"] = descriptor.size
    document["digest"] = str(descriptor.digest)
    return document
