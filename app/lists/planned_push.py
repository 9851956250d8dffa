"""The result of a plan: the actions of a push if it ran now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.lists.assessment import Assessment
from app.lists.difference import Difference
from app.lists.draft import Draft
from app.lists.findings.finding import Finding
from app.lists.push_plan import Conditions
from app.oci.copy_outcomes import BlobCounts, BlobOutcome, ManifestOutcome, ReferrerOutcome, TagAction
from app.oci.digest import Digest
from app.oci.reference import Reference, Repository


@dataclass(frozen=True, slots=True)
class PlannedList:
    """The list at the time when the plan was accepted."""

    id: UUID
    revision: int
    reference: Reference
    session: str
    findings: tuple[Finding, ...]


def describe_planned(draft: Draft, assessment: Assessment) -> PlannedList:
    return PlannedList(draft.id, draft.revision, draft.reference, draft.session, assessment.plan_findings)


@dataclass(frozen=True, slots=True)
class PlannedTag:
    """`previous` is the digest that the tag has now; `difference` compares it with the index.

    A tag that `is_unreadable` may hold anything.
    """

    reference: Reference
    action: TagAction
    previous: Digest | None
    difference: Difference | None
    is_unreadable: bool = False


@dataclass(frozen=True, slots=True)
class PlannedTarget:
    repository: Repository
    tags: tuple[PlannedTag, ...]
    manifests: tuple[ManifestOutcome, ...]
    referrers: tuple[ReferrerOutcome, ...]
    blobs: tuple[BlobOutcome, ...]
    totals: BlobCounts


@dataclass(frozen=True, slots=True)
class PlannedPush:
    """`problem` is the error that the push would fail with, in its stored form."""

    planned_list: PlannedList
    digest: Digest
    media_type: str
    size: int
    missing_platforms: tuple[str, ...]
    conditions: Conditions | None
    targets: tuple[PlannedTarget, ...]
    problem: Mapping[str, Any] | None
