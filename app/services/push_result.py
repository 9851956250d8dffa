"""What a push did, as callers and its history read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from app.lists.push_plan import PushPlan, PushTarget
from app.registry.copy import CopyResult


def build_result(
    plan: PushPlan, results: Sequence[CopyResult], previous: Mapping[str, str | None]
) -> dict[str, Any]:
    """One target for each reference that now leads to the index, and the lines that Docker would print.

    `previous` is what each of them led to before any attempt: the last may have found its own index there.
    """
    targets = []
    lines = []
    for target, result in zip(plan.targets, results, strict=True):
        targets += _targets(plan, target, result, previous)
        lines += _lines(plan, target)
    return {"targets": targets, "lines": lines}


def _targets(
    plan: PushPlan, target: PushTarget, result: CopyResult, previous: Mapping[str, str | None]
) -> list[dict[str, Any]]:
    manifests = [
        {
            "reference": f"{target.repository}@{placed.digest}",
            "digest": str(placed.digest),
            "action": placed.action.value,
        }
        for placed in result.manifests
    ]
    return [
        {
            "reference": reference,
            "digest": str(plan.index.digest),
            "previous_digest": previous.get(reference),
            "manifests": manifests,
            "blobs": asdict(result.blobs),
        }
        for reference in target.references(plan.index.digest)
    ]


def _lines(plan: PushPlan, target: PushTarget) -> list[str]:
    """Docker puts manifests of other repositories each time, and tells of each; then the index's digest."""
    put = [
        f"Pushed ref {target.repository}@{child.digest} with digest: {child.digest}"
        for child in plan.children
        if child.repository != target.repository
    ]
    return [*put, str(plan.index.digest)]
