"""The values of a push: what it copies, what it asks before tags move, how far it is, and its results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from app.oci.copy_outcomes import (
    BlobAction,
    BlobCounts,
    BlobOutcome,
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
    "ManifestAction",
    "ManifestOutcome",
    "ReferrerAction",
    "ReferrerOutcome",
    "Step",
    "StepName",
    "TagAction",
    "TagSnapshot",
    "TargetProgress",
]


# --- what is asked for ---


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
class TagSnapshot:
    """The digest that each tag leads to before the push moves it, None for nothing.

    `manifests` has those of them that the push has read already, as far as its cache reaches.
    """

    digests: Mapping[Reference, Digest | None]
    manifests: Mapping[Digest, Manifest] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Guard:
    """Asked once, when everything is staged at all targets and before any tag moves.

    `ask` gets the previous content of every tag, which is the index itself where an earlier attempt has put
    it. It raises to keep all tags unmoved, or returns those to leave as they are. Unless it `is_strict`, a
    recent snapshot from the time of staging is good enough for it.
    """

    ask: Callable[[TagSnapshot], Awaitable[Collection[Reference]]]
    is_strict: bool = False


# --- how far it is ---


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
    """How far one part of a push is; totals grow while children are still being looked up.

    Manifests and tags are named as they are finished; an index without a tag goes by its digest.
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


# --- what came of it ---


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a push did at one target; `previous` is what each tag led to before, None for nothing."""

    manifests: tuple[ManifestOutcome, ...]
    blobs: BlobCounts
    previous: Mapping[str, Digest | None]
    tags: Mapping[str, TagAction]
    referrers: tuple[ReferrerOutcome, ...] = ()


@dataclass(frozen=True, slots=True)
class DryRunResult:
    """What a push would do at one target, as far as reading shows: a mount may still be declined.

    `previous` is what each tag leads to now, None for nothing; `previous_manifests` are those of them that
    have been read.
    """

    manifests: tuple[ManifestOutcome, ...]
    blobs: tuple[BlobOutcome, ...]
    counts: BlobCounts
    previous: Mapping[str, Digest | None]
    previous_manifests: Mapping[Digest, Manifest]
    referrers: tuple[ReferrerOutcome, ...] = ()
