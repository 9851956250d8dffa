"""Room for large documents: only a few of them are in memory at the same time, and fewer of one registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from app import errors

__all__ = ["Room", "Rooms"]

_SMALL = 64 * 1024
_LARGE_AT_ONCE = 16
_LARGE_OF_ONE = 4


class Room:
    """What one document may take: a little at once, and more when it is its turn."""

    def __init__(self, *gates: asyncio.Semaphore) -> None:
        self._gates = gates
        self._held = AsyncExitStack()
        self.was_large = False

    async def make(self, size: int) -> None:
        """Waits until so many bytes may be kept."""
        if size <= _SMALL or self.was_large:
            return
        for gate in self._gates:
            await self._held.enter_async_context(gate)
        self.was_large = True

    async def leave(self) -> None:
        """What was kept is gone; the next try must not wait for others while they wait for this."""
        await self._held.aclose()
        self.was_large = False


class Rooms:
    """For one client; a registry's gate lasts as long as someone is at it."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._by_registry: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, registry: str) -> AsyncIterator[Room]:
        """Held while a document is fetched and read, whatever it turns out to be."""
        gate = self._by_registry.get(registry)
        if gate is None:
            gate = self._by_registry[registry] = asyncio.Semaphore(_LARGE_OF_ONE)
        room = Room(gate, self._all)
        try:
            yield room
        except errors.BrokerError as error:
            if room.was_large:
                _forget_history(error)
            raise
        finally:
            await room.leave()


def _forget_history(error: errors.BrokerError) -> None:
    """Errors are kept until their operation ends, and the frames that they came through keep the document."""
    error.__cause__ = error.__context__ = error.__traceback__ = None
