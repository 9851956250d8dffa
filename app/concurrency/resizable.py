"""A semaphore whose number of slots may change while tasks hold and await them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["ResizableSemaphore"]


class ResizableSemaphore:
    """Serves waiters in order; making it smaller takes no slot from a task that holds one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._slots = asyncio.Semaphore(size)
        self.users = 0
        """The tasks that hold a slot or wait for one."""
        # Slots that disappear as soon as they are released.
        self._surplus = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        await self.acquire()
        try:
            yield
        finally:
            self.release()

    async def acquire(self) -> None:
        self.users += 1
        try:
            await self._slots.acquire()
            while self._surplus:
                self._surplus -= 1
                await self._slots.acquire()
        except BaseException:
            self.users -= 1
            raise

    def release(self) -> None:
        self.users -= 1
        self._add_slot()

    def resize(self, size: int) -> None:
        while self.size > size:
            self.size -= 1
            self._surplus += 1
        while self.size < size:
            self.size += 1
            self._add_slot()

    def _add_slot(self) -> None:
        if self._surplus:
            self._surplus -= 1
        else:
            self._slots.release()
