"""Manifests as registries hold them: their exact bytes and their parsed content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from app.errors import SourceInvalid, SourceUnsupported
from app.oci import media_types, members, strict_json
from app.oci.descriptor import Descriptor, parse_descriptor
from app.oci.digest import Digest, digest_of
from app.oci.strict_json import Json
from app.oci.text import shown

MAX_LAYERS = 512
MAX_MANIFESTS = 1024

KEYS = (
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "fsLayers",
    "subject",
    "annotations",
)
# Readers disagree about a document with members of both kinds (CVE-2021-41190).
_FOREIGN_TO_IMAGE = ("manifests", "fsLayers")
_FOREIGN_TO_INDEX = ("config", "layers", "fsLayers")
_KEPT_OF_INDEX = frozenset(KEYS)
_WHAT = "the manifest"


@dataclass(frozen=True, slots=True)
class Manifest:
    media_type: str
    raw: bytes = field(repr=False)
    digest: Digest

    @classmethod
    def of(cls, media_type: str, raw: bytes) -> Manifest:
        return cls(media_type, raw, digest_of(raw))

    @property
    def size(self) -> int:
        return len(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, self.size)


@dataclass(frozen=True, slots=True)
class ImageManifest:
    manifest: Manifest
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    subject: Descriptor | None = None
    artifact_type: str | None = None

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and the layers in order, each digest once."""
        return _distinct((self.config, *self.layers))

    @property
    def copyable_blobs(self) -> tuple[Descriptor, ...]:
        """The blobs without foreign layers that have `urls`, from which their owner serves them."""
        blobs = (self.config, *self.layers)
        return _distinct(
            blob for blob in blobs if not (media_types.is_foreign_layer(blob.media_type) and blob.urls)
        )

    @property
    def is_artifact(self) -> bool:
        """Whether the content is not an image (image-spec manifest.md, Guidelines for Artifact Usage)."""
        return self.artifact_type is not None or not self._has_image_config

    @property
    def kind(self) -> str | None:
        """The artifact type, or None for an image (image-spec descriptor.md, `artifactType`)."""
        return (self.artifact_type or self.config.media_type) if self.is_artifact else None

    @property
    def has_platform(self) -> bool:
        """Whether the type of the config includes a platform."""
        return self._has_image_config or self.config.media_type == media_types.WASM_CONFIG

    @property
    def is_attestation(self) -> bool:
        """Whether this is an attestation of BuildKit: an image or artifact of in-toto statements."""
        return self.artifact_type == media_types.BUILDKIT_ATTESTATION or (
            bool(self.layers) and all(layer.media_type == media_types.IN_TOTO for layer in self.layers)
        )

    @property
    def _has_image_config(self) -> bool:
        known = media_types.IMAGE_CONFIG_TYPES
        if self.manifest.media_type == media_types.DOCKER_MANIFEST:
            known |= media_types.LEGACY_CONFIG_TYPES
        return self.config.media_type in known


@dataclass(frozen=True, slots=True)
class Index:
    manifest: Manifest
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    subject: Descriptor | None = None
    artifact_type: str | None = None
    # The names of further members of the document, whose values are not kept.
    rest: tuple[str, ...] = field(default=(), compare=False)


def parse_manifest(raw: bytes, content_type: str | None, described: str = "") -> ImageManifest | Index:
    """The manifest; `described` is the media type in the descriptor that led to it, if one did.

    A Content-Type that names no kind of manifest is ignored: the type then comes from the descriptor, else
    from the manifest's own member, else from its shape. Raises SourceUnsupported for an unsupported type, and
    SourceInvalid for a contradictory document.
    """
    claimed, claim = media_types.bare(content_type), "was served as"
    if claimed in media_types.GENERIC_TYPES:
        claimed, claim = (described if described in media_types.MANIFEST_TYPES else ""), "is listed as"
    if claimed:
        _check_supported(claimed)
    owner = members.owner(strict_json.loads(raw, what=_WHAT), KEYS, what=_WHAT)
    stated = members.text(owner, "mediaType", what=_WHAT)
    if not claimed:
        claimed, claim = _stated_type(owner, stated), "says that it is" if stated else "has the shape of"
    _check_header(owner, stated, claimed, claim)
    is_index = media_types.is_index(claimed)
    _check_kind(owner, _FOREIGN_TO_INDEX if is_index else _FOREIGN_TO_IMAGE, claimed, claim)
    manifest = Manifest.of(claimed, raw)
    return _parse_index(manifest, owner) if is_index else _parse_image(manifest, owner)


def _parse_image(manifest: Manifest, owner: Mapping[str, Json]) -> ImageManifest:
    if owner.get("config") is None:
        raise SourceInvalid("The manifest has no config.", media_type=manifest.media_type)
    return ImageManifest(
        manifest,
        config=parse_descriptor(owner["config"], what="the manifest's config"),
        layers=_descriptors(owner, "layers", MAX_LAYERS),
        annotations=members.texts_by_key(owner, "annotations", what=_WHAT),
        subject=_subject(owner),
        artifact_type=members.text(owner, "artifactType", what=_WHAT) or None,
    )


def _parse_index(manifest: Manifest, owner: Mapping[str, Json]) -> Index:
    if "manifests" not in owner:
        raise SourceInvalid("The index has no manifests member.", media_type=manifest.media_type)
    return Index(
        manifest,
        manifests=_descriptors(owner, "manifests", MAX_MANIFESTS),
        annotations=members.texts_by_key(owner, "annotations", what=_WHAT),
        subject=_subject(owner),
        artifact_type=members.text(owner, "artifactType", what=_WHAT) or None,
        rest=members.others(owner, _KEPT_OF_INDEX),
    )


def _stated_type(owner: Mapping[str, Json], stated: str) -> str:
    if not stated:
        stated = _shape(owner)
    _check_supported(stated)
    return stated


def _shape(owner: Mapping[str, Json]) -> str:
    """Only OCI lets a manifest leave out its type, so one that does is OCI's."""
    if _version(owner) == 1:
        return media_types.DOCKER_SCHEMA1
    if "manifests" in owner:
        return media_types.OCI_INDEX
    return media_types.OCI_MANIFEST if "config" in owner else ""


def _check_supported(media_type: str) -> None:
    if media_type in media_types.MANIFEST_TYPES:
        return
    if not media_type:
        raise SourceUnsupported(
            "Neither the registry nor the manifest states the media type, and the manifest has neither a "
            "config nor manifests."
        )
    name = shown(media_type)
    if media_type in media_types.SCHEMA1_TYPES:
        detail = (
            f"The manifest has Docker's retired schema 1 ({name}). Push the image again with a current tool."
        )
        raise SourceUnsupported(detail, media_type=name)
    raise SourceUnsupported(f'The media type "{name}" is neither an image nor an index.', media_type=name)


def _check_header(owner: Mapping[str, Json], stated: str, media_type: str, claim: str) -> None:
    """Check the media type. It is optional in image-spec and required by Docker; a wrong one is an error.

    `claim` names the origin of the expected media type.
    """
    if stated != media_type and (stated or media_type in media_types.DOCKER_TYPES):
        own = (
            f'its mediaType is "{shown(stated)}"'
            if stated
            else "does not have the mediaType that Docker requires"
        )
        raise SourceInvalid(f"The manifest {claim} {media_type}, but {own}.", media_type=media_type)
    if _version(owner) != 2:  # noqa: PLR2004
        raise SourceInvalid("The manifest's schemaVersion is not 2.", media_type=media_type)


def _version(owner: Mapping[str, Json]) -> int | None:
    version = owner.get("schemaVersion")
    return version if type(version) is int else None


def _check_kind(owner: Mapping[str, Json], foreign: Iterable[str], media_type: str, claim: str) -> None:
    for key in foreign:
        if key in owner:
            detail = f"The manifest {claim} {media_type}, but has the member {key} of another type."
            raise SourceInvalid(detail, media_type=media_type)


def _descriptors(owner: Mapping[str, Json], key: str, limit: int) -> tuple[Descriptor, ...]:
    values = members.items(owner, key, what=_WHAT)
    if len(values) > limit:
        raise SourceInvalid(f"The manifest has {len(values)} {key}. The limit is {limit}.")
    return tuple(
        parse_descriptor(value, what=f"the descriptor {key}[{place}]") for place, value in enumerate(values)
    )


def _subject(owner: Mapping[str, Json]) -> Descriptor | None:
    subject = owner.get("subject")
    return None if subject is None else parse_descriptor(subject, what="the manifest's subject")


def _distinct(descriptors: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    first: dict[Digest, Descriptor] = {}
    for descriptor in descriptors:
        first.setdefault(descriptor.digest, descriptor)
    return tuple(first.values())
