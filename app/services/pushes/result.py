"""What a push did, as callers and its history read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from app.lists.push_plan import PushPlan
from app.lists.pushes import Push
from app.lists.targets import PushTarget
from app.registry.push.model import CopyResult, ReferrerOutcome, TagAction


def build_result(plan: PushPlan, results: Sequence[CopyResult], kept: Push) -> dict[str, Any]:
    """One target for each reference that now leads to the index, and the lines that Docker would print.

    `kept` has what each of them led to before any attempt: the last may have found its own index there.
    """
    targets = []
    lines = []
    for target, result in zip(plan.targets, results, strict=True):
        targets += _targets(plan, target, result, kept)
        lines += _lines(plan, target)
    return {"targets": targets, "lines": lines}


def moved_references(result: Mapping[str, Any]) -> list[str]:
    """The tags that lead to the index now; without a tag there is none that another push could move."""
    return [
        target["reference"]
        for target in result["targets"]
        if target["action"] == TagAction.MOVED and "@" not in target["reference"]
    ]


def referrers_document(target: PushTarget, placed: Sequence[ReferrerOutcome]) -> list[dict[str, Any]]:
    """What refers to the images, and came along."""
    return [
        {
            "reference": f"{target.repository}@{each.digest}",
            "digest": str(each.digest),
            "subject": str(each.subject),
            "artifact_type": each.artifact_type,
            "action": each.action.value,
        }
        for each in placed
    ]


def perhaps_moved(push: Push) -> list[str]:
    """The tags that a push may have moved before it failed; one that stands for a digest is none.

    An attempt that was lost with its worker has not said how far it came, but only that it was about to.
    """
    if not push.reached:
        return list(push.previous)
    return [
        f"{reached['repository']}:{tag}"
        for reached in push.reached
        for tag in reached["tags"][TagAction.MOVED]
        if ":" not in tag
    ]


def _targets(plan: PushPlan, target: PushTarget, result: CopyResult, kept: Push) -> list[dict[str, Any]]:
    manifests = [
        {
            "reference": f"{target.repository}@{placed.digest}",
            "digest": str(placed.digest),
            "action": placed.action.value,
        }
        for placed in result.manifests
    ]
    actions = [result.tags[tag].value for tag in target.tags] or [TagAction.MOVED.value]
    return [
        {
            "reference": str(reference),
            "digest": str(plan.index.digest),
            "action": action,
            "previous_digest": kept.previous.get(str(reference)),
            "difference": kept.differences.get(str(reference)),
            "manifests": manifests,
            "referrers": referrers_document(target, result.referrers),
            "blobs": asdict(result.blobs),
        }
        for reference, action in zip(target.references(plan.index.digest), actions, strict=True)
    ]


def _lines(plan: PushPlan, target: PushTarget) -> list[str]:
    """Docker puts manifests of other repositories each time, and tells of each; then the index's digest."""
    put = [
        f"Pushed ref {target.repository}@{child.digest} with digest: {child.digest}"
        for child in plan.children
        if child.repository != target.repository
    ]
    return [*put, str(plan.index.digest)]
