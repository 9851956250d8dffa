"""Shares one run of an async function between all callers that want the same result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["AsyncCache", "SingleFlight"]

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    waiting: int = 0


class SingleFlight(Generic[K, V]):
    """Concurrent callers of one key share one task, which is cancelled when the last caller is."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        flight = self._flights.get(key)
        # A task that has just ended stays here until its callbacks run.
        if flight is None or flight.task.done():
            flight = self._flights[key] = _Flight(asyncio.create_task(work()))
            flight.task.add_done_callback(lambda task: self._forget(key, task))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._forget(key, flight.task)
                flight.task.cancel()
                await asyncio.wait({flight.task})

    def _forget(self, key: K, task: asyncio.Task[V]) -> None:
        """Let the next caller start a new task, unless a newer one is already here."""
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]


class AsyncCache(Generic[K, V]):
    """Computes the value of each key once and keeps it; a failure is not kept."""

    def __init__(self) -> None:
        self._values: dict[K, V] = {}
        self._flights: SingleFlight[K, V] = SingleFlight()

    def add(self, key: K, value: V) -> None:
        """Keep a value that was obtained elsewhere, unless the key has one."""
        self._values.setdefault(key, value)

    async def get(self, key: K, compute: Callable[[], Coroutine[Any, Any, V]]) -> V:
        if key in self._values:
            return self._values[key]
        return await self._flights.run(key, lambda: self._compute(key, compute))

    async def _compute(self, key: K, compute: Callable[[], Coroutine[Any, Any, V]]) -> V:
        # Stored before the waiting callers resume: a caller that arrives at that moment finds the value.
        value = self._values[key] = await compute()
        return value
