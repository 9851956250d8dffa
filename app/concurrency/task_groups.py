"""Work at several targets at once, of which none cuts off another."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from app import errors

__all__ = ["each_to_its_end", "unwrap"]


async def each_to_its_end(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Side by side; then a failure is raised, if there is one: one that no retry helps, or else the first."""
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


def unwrap(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to report of several that ended side by side: one that no retry helps, if there is one."""
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
