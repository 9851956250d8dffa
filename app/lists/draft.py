"""The draft of a list and its entries."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.lists.options import Options
from app.lists.origins.listing import Listing
from app.lists.overrides import NOTHING_SAID, PlatformOverride
from app.lists.variants import choice
from app.oci import media_types
from app.oci.annotations import REFERENCE_DIGEST
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.oci.platform import Platform
from app.oci.reference import Reference


class ListState(StrEnum):
    """The state of a list.

    `pushed`: the last push has put the current revision; a later change reopens the list. `failed`: the list
    releases every waiting caller with its problem; a later change reopens it.
    """

    OPEN = "open"
    PUSHED = "pushed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The origin of an image, from the labels in its config; each may be unknown."""

    created: str | None = None
    revision: str | None = None
    source: str | None = None
    version: str | None = None

    @property
    def known(self) -> dict[str, str]:
        """The facts that the config has."""
        facts = {
            "created": self.created,
            "revision": self.revision,
            "source": self.source,
            "version": self.version,
        }
        return {name: value for name, value in facts.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Origin:
    """The index that an entry was taken from: its reference as the caller gave it, and the selection.

    `narrowed` once a caller has removed an image of it, or replaced one.
    """

    reference: Reference
    platforms: tuple[Platform, ...] = ()
    narrowed: bool = False

    @property
    def whole(self) -> Origin:
        """The origin as the caller named it."""
        return replace(self, narrowed=False)


@dataclass(frozen=True, slots=True)
class Given:
    """How callers gave an entry: the number of the call, of the source in it, and of the image in the source.

    `override` is the platform that the source said, and `platforms` is its selection. `call` is None until
    the entry is in a list, which numbers the calls. `replaced` is the image whose place the entry took, with
    its digest, if callers named it otherwise.
    """

    source: int
    member: int
    override: PlatformOverride = NOTHING_SAID
    platforms: tuple[Platform, ...] = ()
    call: int | None = None
    replaced: Reference | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a list. `reference` is canonical; with the platform it is unique in the list.

    Docker's manifest store has one image for each reference. Here one image may stand for several platforms.
    """

    id: UUID
    reference: Reference
    media_type: str
    digest: Digest
    size: int
    resolved_platform: Platform
    override: PlatformOverride
    annotations: Mapping[str, str]
    image: ImageFacts
    added_by: str
    added_at: datetime
    artifact_type: str | None = None
    # None for an image that the caller named directly.
    origin: Origin | None = None
    listing: Listing | None = None
    # None for an entry that an earlier version stored.
    given: Given | None = None

    @property
    def platform(self) -> Platform:
        return self.override.over(self.resolved_platform)

    @property
    def choice(self) -> Hashable:
        """A key that is the same for entries of one kind that readers can't distinguish."""
        return choice(self.platform), self.kind

    @property
    def kind(self) -> str | None:
        """The type of an artifact; None for an image, even if its index names the type of its config."""
        return None if self.artifact_type in media_types.IMAGE_CONFIG_TYPES else self.artifact_type

    @property
    def is_image(self) -> bool:
        """Whether a runtime can use the entry. An artifact counts only if its own config has a platform."""
        if self.platform.is_unknown:
            return False
        return self.kind is None or self.config_platform not in {None, Platform()}

    @property
    def config_platform(self) -> Platform | None:
        """The platform in the config of the image, if that is known."""
        return self.resolved_platform if self.listing is None else self.listing.config_platform

    @property
    def said(self) -> dict[str, str]:
        """The annotations that callers have set, without those that the source has."""
        listed = self.listing.annotations if self.listing is not None else {}
        return {key: text for key, text in self.annotations.items() if listed.get(key) != text}

    @property
    def named(self) -> Reference:
        """The reference of the source as the caller named it."""
        return self.origin.reference if self.origin is not None else self.reference

    @property
    def attests(self) -> str | None:
        """For an attestation, the digest of the image that it describes (BuildKit's convention)."""
        if (self.platform.os, self.platform.architecture) != ("unknown", "unknown"):
            return None
        return self.annotations.get(REFERENCE_DIGEST)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(
            self.media_type,
            self.digest,
            self.size,
            platform=None if self.artifact_type and self.platform == Platform() else self.platform,
            annotations=self.annotations,
            artifact_type=self.artifact_type,
        )


@dataclass(frozen=True, slots=True)
class Draft:
    """A list at one revision; a failed list has a `problem`."""

    id: UUID
    reference: Reference
    session: str
    revision: int
    state: ListState
    options: Options
    entries: tuple[Entry, ...]
    created_by: str
    created_at: datetime
    updated_at: datetime
    push_operation_id: UUID | None = None
    last_push_id: UUID | None = None
    problem: Mapping[str, Any] | None = None
    # The source whose bytes the list keeps, as it was read with the list.
    copied: Manifest | None = field(default=None, repr=False)

    @property
    def registries(self) -> frozenset[str]:
        """All registries that the list refers to: in its reference, its targets and its sources."""
        sources = (reference for entry in self.entries for reference in (entry.reference, entry.named))
        return frozenset(each.registry for each in (self.reference, *self.options.targets, *sources))


def find_counting(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries that can satisfy an expected platform: images, or artifacts if the list has no images.

    An SBOM for linux/amd64 does not satisfy the expectation of an image.
    """
    return tuple(entry for entry in entries if entry.is_image) or tuple(entries)
