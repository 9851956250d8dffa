"""Hands a download's bytes on as the body of an upload's requests, and watches that they keep moving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from app.registry.content.download import Download
from app.registry.limits import Limits

__all__ = ["StallWatch", "WatchedBody"]


class StallWatch:
    """Moves a deadline on each time that enough bytes have passed: a trickle ends, a river goes on."""

    def __init__(self, deadline: asyncio.Timeout, limits: Limits) -> None:
        self._deadline = deadline
        self._limits = limits
        self._passed = 0
        self._seconds = limits.stall_seconds

    def start(self) -> None:
        self._move(self._limits.stall_seconds)

    def hold(self, seconds: float) -> None:
        """Nothing is expected to move for so long."""
        self._move(self._limits.stall_seconds + seconds)

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """While others are before us nothing is expected at all; then what was before."""
        self._reschedule(None)
        try:
            yield
        finally:
            self._move(self._seconds)

    def passed(self, size: int) -> None:
        self._passed += size
        if self._passed >= self._limits.stall_bytes:
            self._passed = 0
            self._move(self._limits.stall_seconds)

    def end(self, size: int) -> None:
        """A registry may hash all of it once more, or move it elsewhere, before it answers."""
        least = max(self._limits.call_seconds, self._limits.stall_seconds)
        self._move(least + size / self._limits.commit_bytes)

    def _move(self, seconds: float) -> None:
        self._seconds = seconds
        self._reschedule(asyncio.get_running_loop().time() + seconds)

    def _reschedule(self, when: float | None) -> None:
        # The task that writes a body may still be on its way out when the deadline is over.
        with suppress(RuntimeError):
            self._deadline.reschedule(when)


class WatchedBody:
    """An async iterator over so many bytes of a download, from where it stands."""

    def __init__(
        self, download: Download, size: int, watch: StallWatch, on_position: Callable[[int], None]
    ) -> None:
        self._download = download
        self._size = self._left = size
        self._watch = watch
        self._on_position = on_position

    def __aiter__(self) -> WatchedBody:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        chunk = await self._download.read(self._left, self._watch)
        self._left -= len(chunk)
        self._watch.passed(len(chunk))
        if not self._left:
            self._watch.end(self._size)
        self._on_position(self._download.position)
        return chunk
