"""The values of a push: its targets and children, its guard, its progress and its results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from app.errors import TagUnreadable
from app.oci.copy_outcomes import (
    BlobAction,
    BlobCounts,
    BlobOutcome,
    LeftBehind,
    ManifestAction,
    ManifestOutcome,
    ReferrerAction,
    ReferrerOutcome,
    TagAction,
)
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.oci.reference import Reference, Repository

__all__ = [
    "BlobAction",
    "BlobCounts",
    "BlobOutcome",
    "CopyChild",
    "CopyResult",
    "CopyTarget",
    "DryRunResult",
    "Finished",
    "Guard",
    "LeftBehind",
    "ManifestAction",
    "ManifestOutcome",
    "ReferrerAction",
    "ReferrerOutcome",
    "Step",
    "StepName",
    "TagAction",
    "TagLease",
    "TagLeases",
    "TagSnapshot",
    "TargetProgress",
]


# --- the request ---


@dataclass(frozen=True, slots=True)
class CopyTarget:
    """The destination of an index; without tags it goes under its own digest."""

    repository: Repository
    tags: tuple[str, ...]
    index: Manifest


@dataclass(frozen=True, slots=True)
class CopyChild:
    """A manifest of the index, its current repository, its blobs, and the manifests that it lists itself."""

    source: Repository
    manifest: Manifest
    blobs: tuple[Descriptor, ...]
    listed: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class TagSnapshot:
    """The digest under each tag before the push moves it, None for a tag that does not exist.

    `manifests` has those that the push has read and cached, `unread` the tags that may exist although the
    registry does not show them.
    """

    digests: Mapping[Reference, Digest | None]
    manifests: Mapping[Digest, Manifest] = field(default_factory=dict, repr=False)
    unread: Mapping[Reference, TagUnreadable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Guard:
    """Asked once, when everything is staged at all targets and before any tag moves.

    `ask` gets the previous content of every tag, which is the index itself if an earlier attempt put it.
    It raises to keep all tags unmoved, or returns the tags to leave as they are. A guard that `is_strict`
    gets tags that were read after staging; otherwise a recent snapshot is enough.
    """

    ask: Callable[[TagSnapshot], Awaitable[Collection[Reference]]]
    is_strict: bool = False


@dataclass(slots=True)
class TagLease:
    """The exclusive right to move a tag for a limited time.

    `is_left` means that the tag is left to a later push. `is_stale` means that the tag may have moved since
    this push read it. The push sets `has_moved` once it has moved the tag, or may have.
    """

    is_left: bool = False
    is_stale: bool = False
    has_moved: bool = False


class TagLeases(Protocol):
    """Excludes all other pushes from a tag while this push moves it and reads it back."""

    def of(
        self, tag: Reference, *, prove: Callable[[], Awaitable[None]] | None
    ) -> AbstractAsyncContextManager[TagLease]:
        """Hold the lease for the length of the block, and wait for it first.

        `prove` proves that the push may write to the repository. It is None if that is already proven.
        """
        ...


# --- progress ---


class StepName(StrEnum):
    """The parts of a push, in the order in which they end."""

    BLOBS = "blobs"
    MANIFESTS = "manifests"
    REFERRERS = "referrers"
    TAGS = "tags"


@dataclass(frozen=True, slots=True)
class Finished:
    """A tag that has moved or a manifest that is in place, and the action that did it."""

    name: str
    action: str


@dataclass(frozen=True, slots=True)
class Step:
    """The progress of one part of a push; totals grow while children are looked up.

    Finished manifests and tags are named; an index without a tag goes by its digest.
    """

    name: StepName
    done: int
    total: int
    bytes_done: int = 0
    bytes_total: int = 0
    finished: tuple[Finished, ...] = ()


@dataclass(slots=True)
class TargetProgress:
    """Counts for one target, and reports each change."""

    report: Callable[[Step], None]
    steps: dict[StepName, Step] = field(default_factory=dict)

    def add(
        self,
        name: StepName,
        *,
        done: int = 0,
        total: int = 0,
        bytes_done: int = 0,
        bytes_total: int = 0,
        finished: tuple[Finished, ...] = (),
    ) -> None:
        step = self.steps.get(name, Step(name, 0, 0))
        step = Step(
            name,
            step.done + done,
            step.total + total,
            step.bytes_done + bytes_done,
            step.bytes_total + bytes_total,
            step.finished + finished,
        )
        self.steps[name] = step
        self.report(step)

    def finish(self, name: StepName, what: str, action: str) -> None:
        self.add(name, done=1, finished=(Finished(what, action),))


# --- results ---


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a push did at one target; `previous` has each tag's digest before, None if it did not exist.

    In `tags`, an index without a tag goes by its digest.
    """

    manifests: tuple[ManifestOutcome, ...]
    blobs: BlobCounts
    previous: Mapping[str, Digest | None]
    tags: Mapping[str, TagAction]
    referrers: tuple[ReferrerOutcome, ...] = ()
    left_behind: tuple[LeftBehind, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DryRunResult:
    """What a push would do at one target, predicted by reads: a mount may still be declined.

    `previous` has the digest of each tag now, None if it does not exist; `previous_manifests` has those
    that were read, and `unread` the tags that may exist although the registry does not show them.
    """

    manifests: tuple[ManifestOutcome, ...]
    blobs: tuple[BlobOutcome, ...]
    counts: BlobCounts
    previous: Mapping[str, Digest | None]
    previous_manifests: Mapping[Digest, Manifest]
    unread: Mapping[str, TagUnreadable] = field(default_factory=dict)
    referrers: tuple[ReferrerOutcome, ...] = ()
    left_behind: tuple[LeftBehind, ...] = ()
    warnings: tuple[str, ...] = ()
