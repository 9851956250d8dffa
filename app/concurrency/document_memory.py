"""Limits the number of large documents in memory, in total and for each registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from app import errors

__all__ = ["DocumentMemory", "MemoryReservation"]

_SMALL = 64 * 1024
_LARGE_AT_ONCE = 16
_LARGE_PER_REGISTRY = 4


class MemoryReservation:
    """The memory of one document: a small one takes no slot, a large one waits for its slots."""

    def __init__(self, *semaphores: asyncio.Semaphore) -> None:
        self._semaphores = semaphores
        self._slots = AsyncExitStack()
        self.is_large = False

    async def grow_to(self, size: int) -> None:
        """Wait until this many bytes may be kept."""
        if size <= _SMALL or self.is_large:
            return
        for semaphore in self._semaphores:
            await self._slots.enter_async_context(semaphore)
        self.is_large = True

    async def release(self) -> None:
        """Give the slots back when the bytes are dropped: a retry must not hold them while it waits."""
        await self._slots.aclose()
        self.is_large = False


class DocumentMemory:
    """The slots of one client; a registry's semaphore lives while its documents are read."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._by_registry: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def reserve(self, registry: str) -> AsyncIterator[MemoryReservation]:
        """Hold a reservation while a document is fetched and parsed."""
        semaphore = self._by_registry.get(registry)
        if semaphore is None:
            semaphore = self._by_registry[registry] = asyncio.Semaphore(_LARGE_PER_REGISTRY)
        reservation = MemoryReservation(semaphore, self._all)
        try:
            yield reservation
        except errors.BrokerError as error:
            if reservation.is_large:
                _drop_frames(error)
            raise
        finally:
            await reservation.release()


def _drop_frames(error: errors.BrokerError) -> None:
    """Drop the traceback's frames: an error lives until its operation ends, and frames hold the document."""
    error.__cause__ = error.__context__ = error.__traceback__ = None
