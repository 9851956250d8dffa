"""Ends transfers that stand still: each stall time must move a minimum of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from app.registry.content.download import Download
from app.registry.limits import Limits

__all__ = ["Activity", "StallWatch", "WatchedBody"]


class Activity:
    """The time until which a push counts as active, because a transfer moves bytes or is about to."""

    def __init__(self) -> None:
        self.until = 0.0

    def expect(self, until: float) -> None:
        self.until = max(self.until, until)


class StallWatch:
    """Extends a deadline each time enough bytes have passed: a trickle is cut off, a steady stream is not.

    All transfers of the push share `activity`. A wait for a slot times out only if none of them moves bytes
    meanwhile.
    """

    def __init__(self, deadline: asyncio.Timeout, limits: Limits, activity: Activity | None = None) -> None:
        self.waited_too_long = False
        self._deadline = deadline
        self._limits = limits
        self._activity = activity or Activity()
        self._passed = 0
        self._seconds = limits.stall_seconds

    def start(self) -> None:
        self._move(self._limits.stall_seconds)

    def allow(self, seconds: float) -> None:
        """Allow so many seconds more, in which no bytes are expected."""
        self._move(self._limits.stall_seconds + seconds)

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """Replace the deadline by the queueing deadline while waiting for a slot, then restore it."""
        self._reschedule(None)
        patience = self._limits.slot_seconds + self._limits.call_seconds
        alarm = self._watch_wait(asyncio.get_running_loop().time() + patience)
        try:
            yield
        finally:
            alarm.cancel()
            self._move(self._seconds)

    def passed(self, size: int) -> None:
        self._passed += size
        if self._passed >= self._limits.stall_bytes:
            self._passed = 0
            self._move(self._limits.stall_seconds)

    def end(self, size: int) -> None:
        """Allow the registry time to hash or move the whole blob before it answers."""
        least = max(self._limits.call_seconds, self._limits.stall_seconds)
        self._move(least + size / self._limits.commit_bytes)

    def _watch_wait(self, until: float) -> _Alarm:
        """End the wait at a given time, or later, once no other transfer of the push moves bytes."""
        loop = asyncio.get_running_loop()

        def ring() -> None:
            if (later := self._activity.until) > loop.time():
                alarm.set(later, ring)
                return
            self.waited_too_long = True
            self._reschedule(loop.time())

        alarm = _Alarm(loop)
        alarm.set(until, ring)
        return alarm

    def _move(self, seconds: float) -> None:
        self._seconds = seconds
        until = asyncio.get_running_loop().time() + seconds
        self._activity.expect(until)
        self._reschedule(until)

    def _reschedule(self, when: float | None) -> None:
        # The task that writes a body may still be ending after the deadline.
        with suppress(RuntimeError):
            self._deadline.reschedule(when)


class _Alarm:
    """A timer that can be reset."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def set(self, when: float, ring: Callable[[], None]) -> None:
        self._handle = self._loop.call_at(when, ring)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class WatchedBody:
    """The body of an upload: so many bytes of a download, from its position on."""

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
