"""The result of a push at each of its targets, and the progress of a failed attempt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.lists.difference import Difference
from app.lists.findings.finding import Finding, Severity
from app.oci.copy_outcomes import (
    BlobCounts,
    LeftBehind,
    ManifestAction,
    ManifestOutcome,
    ReferrerOutcome,
    TagAction,
)
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
    findings: tuple[Finding, ...] = ()

    @property
    def moved(self) -> frozenset[Reference]:
        """The references that lead to the index, without the tags that were left to newer runs."""
        return frozenset(each.reference for each in self.targets if each.action.has_moved)


def find_unverified(references: Iterable[Reference]) -> tuple[Finding, ...]:
    """A finding for each tag that has moved and could not be read back."""
    return tuple(
        Finding(
            "tag-not-verified",
            Severity.WARNING,
            f"The registry took the index as {reference} and did not let it be read back.",
        )
        for reference in references
    )


def find_unreadable(references: Iterable[Reference]) -> tuple[Finding, ...]:
    """A finding for each tag that may hold anything."""
    return tuple(
        Finding("tag-unreadable", Severity.WARNING, f"{reference} could not be read.")
        for reference in references
    )


def find_warnings(registry: str, texts: Iterable[str]) -> tuple[Finding, ...]:
    """A finding for each warning of a registry."""
    return tuple(Finding("registry-warning", Severity.WARNING, f"{registry} warns: {text}") for text in texts)


def find_left_behind(left: Iterable[LeftBehind]) -> tuple[Finding, ...]:
    """A finding for each signature, attestation or SBOM that a push does not take along."""
    distinct = {each.reference: each for each in left}
    return tuple(
        Finding("referrer-left", Severity.WARNING, f"{each.reference} is not copied: {each.reason}")
        for each in distinct.values()
    )


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
