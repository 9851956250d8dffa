"""The outcome of a copy for each blob, manifest, referrer and tag of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.oci.digest import Digest
from app.oci.reference import Reference, Repository


class BlobAction(StrEnum):
    """How a blob got into the target repository."""

    MOUNTED = "mounted"
    COPIED = "copied"
    SKIPPED = "skipped"


class ManifestAction(StrEnum):
    PUT = "put"
    PRESENT = "present"


class TagAction(StrEnum):
    MOVED = "moved"
    MOVED_UNVERIFIED = "moved-unverified"
    """The registry took it and did not let it be read back."""
    LEFT = "left"

    @property
    def has_moved(self) -> bool:
        return self is not TagAction.LEFT


class ReferrerAction(StrEnum):
    PUT = "put"
    PRESENT = "present"
    MISSING = "missing"
    """The source lists the referrer, but does not have it."""


@dataclass(frozen=True, slots=True)
class BlobOutcome:
    """`source` is the repository of the mount or copy; None if the target already had the blob."""

    digest: Digest
    size: int
    action: BlobAction
    source: Repository | None = None


@dataclass(frozen=True, slots=True)
class BlobCounts:
    mounted: int = 0
    copied: int = 0
    skipped: int = 0
    bytes_copied: int = 0


@dataclass(frozen=True, slots=True)
class ManifestOutcome:
    digest: Digest
    action: ManifestAction


@dataclass(frozen=True, slots=True)
class ReferrerOutcome:
    """A manifest that refers to an image or to another referrer, such as a signature.

    One that does so by its `tag`, as cosign's do, names no subject itself.
    """

    subject: Digest
    digest: Digest
    artifact_type: str | None
    action: ReferrerAction
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """Something that refers to an image and was not copied, and why."""

    reference: Reference
    reason: str
