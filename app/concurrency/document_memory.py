"""Limits the large documents in memory: in total, for each tenant, and for each of its registries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from app import errors

__all__ = ["DocumentMemory", "MemoryReservation"]

_SMALL = 64 * 1024
_LARGE_AT_ONCE = 16
_LARGE_PER_TENANT = 8
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
    """The slots of one client. Semaphores of tenants and registries exist only while documents are read."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._shares: WeakValueDictionary[tuple[str, ...], asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def reserve(self, tenant: str, registry: str) -> AsyncIterator[MemoryReservation]:
        """Hold a reservation while a document is fetched and parsed."""
        of_registry = self._share(_LARGE_PER_REGISTRY, tenant, registry)
        of_tenant = self._share(_LARGE_PER_TENANT, tenant)
        reservation = MemoryReservation(of_registry, of_tenant, self._all)
        try:
            yield reservation
        except errors.BrokerError as error:
            if reservation.is_large:
                _drop_frames(error)
            raise
        finally:
            await reservation.release()

    def _share(self, slots: int, *owner: str) -> asyncio.Semaphore:
        semaphore = self._shares.get(owner)
        if semaphore is None:
            semaphore = self._shares[owner] = asyncio.Semaphore(slots)
        return semaphore


def _drop_frames(error: errors.BrokerError) -> None:
    """Drop the traceback's frames: an error lives until its operation ends, and frames hold the document."""
    error.__cause__ = error.__context__ = error.__traceback__ = None
