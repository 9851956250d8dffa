"""Copies a graph to several targets: staged at all of them, then the tags, then read back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from app import errors
from app.oci.reference import Repository
from app.registry.access import Access
from app.registry.blob_copies import BlobCounts
from app.registry.client import RegistryClient
from app.registry.errors import unwrap
from app.registry.graph import (
    CopyChild,
    CopyResult,
    CopyTarget,
    Guard,
    Held,
    ManifestAction,
    PlacedManifest,
    TagAction,
)
from app.registry.stage import Stage
from app.registry.steps import Finished, Step, StepName

__all__ = [
    "BlobCounts",
    "CopyChild",
    "CopyResult",
    "CopyTarget",
    "Finished",
    "Guard",
    "Held",
    "ManifestAction",
    "PlacedManifest",
    "Step",
    "StepName",
    "TagAction",
    "push",
]

OnProgress = Callable[[Repository, Step], None]


def _ignore(_: Repository, __: Step) -> None:
    return None


async def push(
    client: RegistryClient,
    targets: Sequence[CopyTarget],
    children: Sequence[CopyChild],
    access: Access,
    on_progress: OnProgress = _ignore,
    *,
    guard: Guard | None = None,
) -> list[CopyResult]:
    """Brings indexes and all that they list to their targets, of which no two are one repository.

    Everything is staged everywhere before any tag moves; readers see the old index or the new one whole. One
    target that fails keeps the tags of all as they are, and one tag that fails does not keep the others: what
    was begun goes on to its end, so that the next attempt has less to do.
    """
    stages: list[Stage] = []
    for target in targets:
        here = target.repository
        stage = Stage(
            client,
            target,
            children,
            access,
            partial(on_progress, here),
            first=next((each for each in stages if each.registry == here.registry), None),
            looks=guard is None or not guard.is_strict,
            by_digest=sum(len(each.tags) for each in targets) > 1,
        )
        stages.append(stage)
    try:
        await _perform(stages, guard)
    except BaseExceptionGroup as group:
        failure = unwrap(group)
        raise failure from failure.__cause__
    return [stage.result for stage in stages]


async def _perform(stages: Sequence[Stage], guard: Guard | None) -> None:
    await _all(stage.prepare() for stage in stages)
    await _all(stage.look_again() for stage in stages)
    is_strict = guard is not None and guard.is_strict
    await _all(stage.read_tags(strictly=is_strict) for stage in stages)
    held = {reference: digest for stage in stages for reference, digest in stage.held.items()}
    left = await guard.ask(held) if guard is not None else ()
    await _all(move for stage in stages for move in stage.moves(left))


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Side by side, each to its end; then a failure is raised: one that no retry helps, or else the first."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_failure_of(work)) for work in works]
    failures = [failure for task in tasks if (failure := task.result()) is not None]
    if failures:
        raise next((failure for failure in failures if not failure.retryable), failures[0])


async def _failure_of(work: Coroutine[Any, Any, None]) -> errors.BrokerError | None:
    # A failure is a value here: raised, it would cancel those beside it.
    try:
        await work
    except errors.BrokerError as error:
        return error
    except BaseExceptionGroup as group:
        failure = unwrap(group)
        if not isinstance(failure, errors.BrokerError):
            raise
        return failure
    return None
