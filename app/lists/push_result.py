"""The result of a push at each of its targets, and the progress of a failed attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.lists.difference import Difference
from app.oci.copy_outcomes import BlobCounts, ManifestAction, ManifestOutcome, ReferrerOutcome, TagAction
from app.oci.digest import Digest
from app.oci.reference import Reference, Repository


@dataclass(frozen=True, slots=True)
class TargetResult:
    """One reference that leads to the index now, or that the push left unchanged.

    `previous` is its digest before the first attempt, and `difference` compares that with the index. Both are
    None for a reference that did not exist.
    """

    reference: Reference
    digest: Digest
    action: TagAction
    previous: Digest | None
    difference: Difference | None
    manifests: tuple[ManifestOutcome, ...]
    referrers: tuple[ReferrerOutcome, ...]
    blobs: BlobCounts


@dataclass(frozen=True, slots=True)
class PushResult:
    """The targets of a push that succeeded, and the lines that `docker manifest push` would print."""

    targets: tuple[TargetResult, ...]
    lines: tuple[str, ...]

    @property
    def moved(self) -> frozenset[Reference]:
        """The references that lead to the index, without the tags that were left to newer runs."""
        return frozenset(each.reference for each in self.targets if each.action is TagAction.MOVED)


@dataclass(frozen=True, slots=True)
class BlobProgress:
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class TargetReached:
    """The progress of a failed attempt at one target.

    A manifest without an action was not put; a tag that is left has not moved. A target without tags has the
    index's own digest instead.
    """

    repository: Repository
    blobs: BlobProgress
    manifests: Mapping[Digest, ManifestAction | None]
    tags: Mapping[Reference, TagAction]
