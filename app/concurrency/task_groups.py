"""Concurrent work in which a failure does not cancel the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from app import errors

__all__ = ["run_all_to_completion", "unwrap"]


async def run_all_to_completion(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all concurrently to the end; then raise a final failure if there is one, or else the first one."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_failure_of(work)) for work in works]
    except BaseExceptionGroup as group_of_faults:
        fault = unwrap(group_of_faults)
        raise fault from fault.__cause__
    failures = [failure for task in tasks if (failure := task.result()) is not None]
    if failures:
        raise next((failure for failure in failures if not failure.retryable), failures[0])


async def _failure_of(work: Coroutine[Any, Any, None]) -> errors.BrokerError | None:
    # The failure is returned: if raised, it would cancel the other tasks of the group.
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


def unwrap(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Choose the failure to report from a group: a final one if the group has one."""
    leaves = list(_leaves(group))
    ours = [leaf for leaf in leaves if isinstance(leaf, errors.BrokerError)]
    others = [leaf for leaf in leaves if not isinstance(leaf, errors.BrokerError | asyncio.CancelledError)]
    if others:
        return others[0]
    return next((error for error in ours if not error.retryable), ours[0] if ours else leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for inner in group.exceptions:
        found.extend(_leaves(inner) if isinstance(inner, BaseExceptionGroup) else [inner])
    return found
