"""Pushes, their views, and the filters for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.lists.difference import Difference
from app.lists.push_plan import PushPlan
from app.lists.push_result import PushResult, TargetReached, TargetResult
from app.oci.copy_outcomes import BlobCounts, ManifestOutcome
from app.oci.digest import Digest
from app.oci.reference import Reference


class PushState(StrEnum):
    QUEUED = "queued"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Push:
    """One push of one list, under way or ended; it outlives the list.

    `previous` has the digest of each reference before its tag moved, `differences` compares those with the
    index, `reached` has the progress of a failed attempt at each target, `problem` is the error in its stored
    form, and `restores` is the push whose bytes this one puts back.
    """

    id: UUID
    operation_id: UUID
    list_id: UUID | None
    reference: Reference
    session: str
    labels: Mapping[str, str]
    plan: PushPlan
    created_by: str
    state: PushState = PushState.QUEUED
    previous: Mapping[Reference, Digest | None] = field(default_factory=dict)
    differences: Mapping[Reference, Difference] = field(default_factory=dict)
    reached: tuple[TargetReached, ...] = ()
    result: PushResult | None = None
    problem: Mapping[str, Any] | None = None
    restores: UUID | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def perhaps_moved(self) -> frozenset[Reference]:
        """The references that a failed push may have moved.

        An attempt that was lost with its worker has stored the previous digests, but not its progress.
        """
        if not self.reached:
            return frozenset(self.previous)
        return frozenset(
            reference
            for target in self.reached
            for reference, action in target.tags.items()
            if action.has_moved
        )


@dataclass(frozen=True, slots=True)
class PushView:
    """A push as its callers read it; the result of one that failed has the tags that it has moved."""

    id: UUID
    operation_id: UUID
    list_id: UUID | None
    reference: Reference
    session: str
    state: PushState
    digest: Digest
    media_type: str
    is_partial: bool
    missing_platforms: tuple[str, ...]
    result: PushResult
    problem: Mapping[str, Any] | None
    restores: UUID | None
    labels: Mapping[str, str]
    created_by: str
    created_at: datetime | None
    ended_at: datetime | None


def _result(push: Push) -> PushResult:
    """The result of a push that succeeded; of another one, the tags that it has moved."""
    if push.result is not None:
        return push.result
    moved = (
        TargetResult(
            reference=reference,
            digest=push.plan.index.digest,
            action=action,
            previous=push.previous.get(reference),
            difference=push.differences.get(reference),
            manifests=tuple(
                ManifestOutcome(digest, taken)
                for digest, taken in target.manifests.items()
                if taken is not None
            ),
            referrers=(),
            blobs=BlobCounts(),
        )
        for target in (push.reached if push.problem is not None else ())
        for reference, action in target.tags.items()
        if action.has_moved
    )
    return PushResult(tuple(moved), ())


def view_push(push: Push) -> PushView:
    plan = push.plan
    return PushView(
        id=push.id,
        operation_id=push.operation_id,
        list_id=push.list_id,
        reference=push.reference,
        session=push.session,
        state=push.state,
        digest=plan.index.digest,
        media_type=plan.index.media_type,
        is_partial=bool(plan.missing_platforms),
        missing_platforms=plan.missing_platforms,
        result=_result(push),
        problem=push.problem,
        restores=push.restores,
        labels=push.labels,
        created_by=push.created_by,
        created_at=push.created_at,
        ended_at=push.ended_at,
    )


@dataclass(frozen=True, slots=True)
class PushFilter:
    """A filter; None matches everything."""

    reference: str | None = None
    registry: str | None = None
    repository: str | None = None
    session: str | None = None
    list_id: UUID | None = None
    state: PushState | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
