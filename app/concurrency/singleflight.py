"""One piece of work for all who want its result at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["Once", "SingleFlight"]

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    waiting: int = 0


class SingleFlight(Generic[K, V]):
    """The work ends when it is done, or when the last who waits for it has gone."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        flight = self._flights.get(key)
        # A task that has just ended is still here until its callbacks are called.
        if flight is None or flight.task.done():
            flight = self._flights[key] = _Flight(asyncio.create_task(work()))
            flight.task.add_done_callback(lambda task: self._land(key, task))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._land(key, flight.task)
                flight.task.cancel()
                await asyncio.wait({flight.task})

    def _land(self, key: K, task: asyncio.Task[V]) -> None:
        """Who comes later starts anew, unless somebody has done so already."""
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]


class Once(Generic[K, V]):
    """Work that is done once for all who ever want its result; what failed is done again."""

    def __init__(self) -> None:
        self._results: dict[K, V] = {}
        self._flights: SingleFlight[K, V] = SingleFlight()

    def note(self, key: K, result: V) -> None:
        """What was learned on another way."""
        self._results.setdefault(key, result)

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        if key in self._results:
            return self._results[key]
        return await self._flights.run(key, lambda: self._keep(key, work))

    async def _keep(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        # Before the work has ended for those who wait: who comes at that moment finds it done.
        result = self._results[key] = await work()
        return result
