"""Room for so many at once, in the order in which they came, whose size may change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Room"]


class Room:
    """A semaphore that can be made smaller while it is full: who is in stays, and fewer follow."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._places = asyncio.Semaphore(size)
        self._inside = 0
        # Places to be taken away as soon as they are left.
        self._surplus = 0

    @property
    def is_empty(self) -> bool:
        """Whether nobody is in or waits to be."""
        return self._inside == 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        await self.enter()
        try:
            yield
        finally:
            self.leave()

    async def enter(self) -> None:
        self._inside += 1
        try:
            await self._places.acquire()
            while self._surplus:
                self._surplus -= 1
                await self._places.acquire()
        except BaseException:
            self._inside -= 1
            raise

    def leave(self) -> None:
        self._inside -= 1
        self._add()

    def resize(self, size: int) -> None:
        while self.size > size:
            self.size -= 1
            self._surplus += 1
        while self.size < size:
            self.size += 1
            self._add()

    def _add(self) -> None:
        if self._surplus:
            self._surplus -= 1
        else:
            self._places.release()
