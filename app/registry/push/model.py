"""What a push copies, what it asks before tags move, and what came of it: values only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.oci.reference import Reference, Repository
from app.registry.push.blob_copies import BlobCounts, BroughtBlob

__all__ = [
    "CopyChild",
    "CopyResult",
    "CopyTarget",
    "Guard",
    "Held",
    "ManifestAction",
    "PlacedManifest",
    "PlacedReferrer",
    "ReferrerAction",
    "Survey",
    "TagAction",
]


@dataclass(frozen=True, slots=True)
class Held:
    """What each tag holds, None for nothing; and of that, what has been read already, in bytes.

    A tag is mostly just looked up, and what is large is not kept: the manifests may be none.
    """

    digests: Mapping[Reference, Digest | None]
    manifests: Mapping[Digest, Manifest] = field(default_factory=dict, repr=False)


class ManifestAction(StrEnum):
    PUT = "put"
    PRESENT = "present"


class TagAction(StrEnum):
    MOVED = "moved"
    LEFT = "left"


class ReferrerAction(StrEnum):
    PUT = "put"
    PRESENT = "present"
    MISSING = "missing"
    """Its source lists it and does not have it."""


@dataclass(frozen=True, slots=True)
class CopyTarget:
    """Where an index goes; without tags it goes under its own digest."""

    repository: Repository
    tags: tuple[str, ...]
    index: Manifest


@dataclass(frozen=True, slots=True)
class CopyChild:
    """A manifest of the index, where it is now, and the blobs that go with it."""

    source: Repository
    manifest: Manifest
    blobs: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Guard:
    """Asked once, when all is staged at all targets and before any tag moves.

    `ask` is given what every tag holds, which is the index itself where an earlier attempt has put it. It
    raises to keep all of them unmoved, or names those to be left as they are. What was read while images were
    on their way is good enough for it, if that is not long ago, unless it says `is_strict`.
    """

    ask: Callable[[Held], Awaitable[Collection[Reference]]]
    is_strict: bool = False


@dataclass(frozen=True, slots=True)
class PlacedManifest:
    digest: Digest
    action: ManifestAction


@dataclass(frozen=True, slots=True)
class PlacedReferrer:
    """What refers to an image, such as a signature, or to another referrer."""

    subject: Digest
    digest: Digest
    artifact_type: str | None
    action: ReferrerAction


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a push did at one target; `previous` is what each tag held before, None for nothing."""

    manifests: tuple[PlacedManifest, ...]
    blobs: BlobCounts
    previous: Mapping[str, Digest | None]
    tags: Mapping[str, TagAction]
    referrers: tuple[PlacedReferrer, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """What a push would do at one target, as far as looking can tell: a mount may still be declined.

    `held` is what each tag holds now, None for nothing, and `read` what of that has been read in bytes.
    """

    manifests: tuple[PlacedManifest, ...]
    blobs: tuple[BroughtBlob, ...]
    counts: BlobCounts
    held: Mapping[str, Digest | None]
    read: Mapping[Digest, Manifest]
    referrers: tuple[PlacedReferrer, ...] = ()
