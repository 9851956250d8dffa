"""The lease of an operation that this process holds, and the reason why its work stops early."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from enum import Enum, auto
from uuid import UUID

from app.operations.capacity import Bulkhead
from app.operations.states import Kind
from app.store.queue import Claimed


class Stop(Enum):
    """The reason why work stops before it is done."""

    CANCELLED = auto()
    LOST = auto()
    LATE = auto()
    SHUTDOWN = auto()


class Lease:
    """A lease with timers: they stop the work when the lease or the deadline ends, even without the database.

    Times are those of the event loop, whose clock runs on while the process is suspended. The lease starts
    before its claim is sent, so it ends here no later than in the database.
    """

    def __init__(self, claimed: Claimed, until: float) -> None:
        self.claimed = claimed
        self.stopped: Stop | None = None
        self._loop = asyncio.get_running_loop()
        self._until = until
        self._deadline = self._loop.time() + claimed.time_left.total_seconds()
        self._work: asyncio.Task[object] | None = None
        self._alarms: list[asyncio.TimerHandle] = []

    @property
    def id(self) -> UUID:
        return self.claimed.operation.id

    @property
    def attempt(self) -> int:
        return self.claimed.operation.attempt

    @property
    def project_id(self) -> UUID:
        return self.claimed.operation.project_id

    @property
    def kind(self) -> Kind:
        return self.claimed.operation.kind

    @property
    def bulkhead(self) -> Bulkhead:
        return self.claimed.operation.registries

    @property
    def lapsed(self) -> bool:
        return self._loop.time() >= self._until

    @property
    def time_left(self) -> timedelta:
        """The time until the operation's deadline."""
        return timedelta(seconds=self._deadline - self._loop.time())

    def guard(self, work: asyncio.Task[object]) -> None:
        """Stop the work when the lease or the deadline ends."""
        self._work = work
        if self.stopped is not None:
            work.cancel()
        self._set_alarms()

    def renew(self, until: float) -> None:
        self._until = until
        self._set_alarms()

    def release(self) -> None:
        """Cancel the timers, because the work is done."""
        self._work = None
        self._set_alarms()

    def stop(self, reason: Stop) -> None:
        """Stop the work; the first reason counts."""
        if self.stopped is None:
            self.stopped = reason
            if self._work is not None:
                self._work.cancel()

    def _set_alarms(self) -> None:
        while self._alarms:
            self._alarms.pop().cancel()
        if self._work is not None:
            self._alarms.append(self._loop.call_at(self._until, self.stop, Stop.LOST))
            self._alarms.append(self._loop.call_at(self._deadline, self.stop, Stop.LATE))
