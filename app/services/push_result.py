"""What a push did, as callers and its history read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app.lists.push_plan import PushPlan, PushTarget
from app.registry.copy import CopyResult


def build_result(plan: PushPlan, results: Sequence[CopyResult]) -> dict[str, Any]:
    """One target for each reference that now leads to the index, and the lines that Docker would print."""
    targets = []
    lines = []
    for target, result in zip(plan.targets, results, strict=True):
        targets += _targets(plan, target, result)
        lines += _lines(plan, target)
    return {"targets": targets, "lines": lines}


def _targets(plan: PushPlan, target: PushTarget, result: CopyResult) -> list[dict[str, Any]]:
    manifests = [
        {
            "reference": f"{target.repository}@{placed.digest}",
            "digest": str(placed.digest),
            "action": placed.action.value,
        }
        for placed in result.manifests
    ]
    names: Sequence[str | None] = target.tags or (None,)
    return [
        {
            "reference": reference,
            "digest": str(plan.index.digest),
            "previous_digest": _text(result.previous.get(tag) if tag is not None else None),
            "manifests": manifests,
            "blobs": asdict(result.blobs),
        }
        for reference, tag in zip(target.references(plan.index.digest), names, strict=True)
    ]


def _lines(plan: PushPlan, target: PushTarget) -> list[str]:
    """Docker puts manifests of other repositories each time, and tells of each; then the index's digest."""
    put = [
        f"Pushed ref {target.repository}@{child.digest} with digest: {child.digest}"
        for child in plan.children
        if child.repository != target.repository
    ]
    return [*put, str(plan.index.digest)]


def _text(value: object | None) -> str | None:
    return str(value) if value is not None else None
