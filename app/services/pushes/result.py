"""Builds the result of a push from the registry client's results at each target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from app.lists.findings.finding import Finding
from app.lists.push_plan import PushPlan
from app.lists.push_result import (
    PushResult,
    TargetResult,
    find_left_behind,
    find_unverified,
    find_warnings,
)
from app.lists.pushes import Push
from app.lists.targets import PushTarget
from app.registry.push.model import CopyResult, TagAction


def build_result(plan: PushPlan, results: Sequence[CopyResult], kept: Push) -> PushResult:
    """One target for each reference, and the lines that Docker would print.

    `kept` has the digest of each before the first attempt: later attempts may find this push's own index.
    """
    pairs = list(zip(plan.targets, results, strict=True))
    targets = tuple(each for target, result in pairs for each in _results(plan, target, result, kept))
    unverified = [each.reference for each in targets if each.action is TagAction.MOVED_UNVERIFIED]
    left = [left for result in results for left in result.left_behind]
    return PushResult(
        targets,
        tuple(line for target, _ in pairs for line in _lines(plan, target)),
        find_unverified(unverified) + find_left_behind(left) + _warnings(pairs),
    )


def _warnings(pairs: Iterable[tuple[PushTarget, CopyResult]]) -> tuple[Finding, ...]:
    found = [
        each
        for target, result in pairs
        for each in find_warnings(target.repository.registry, result.warnings)
    ]
    return tuple(dict.fromkeys(found))


def _results(plan: PushPlan, target: PushTarget, result: CopyResult, kept: Push) -> Iterator[TargetResult]:
    for reference in target.references(plan.index.digest):
        yield TargetResult(
            reference=reference,
            digest=plan.index.digest,
            action=result.tags[reference.target],
            previous=kept.previous.get(reference),
            difference=kept.differences.get(reference),
            manifests=result.manifests,
            referrers=result.referrers,
            blobs=result.blobs,
        )


def _lines(plan: PushPlan, target: PushTarget) -> list[str]:
    """Docker's output: a line for each manifest from another repository, then the index's digest."""
    put = [
        f"Pushed ref {target.repository}@{child.digest} with digest: {child.digest}"
        for child in plan.children
        if child.repository != target.repository
    ]
    return [*put, str(plan.index.digest)]
