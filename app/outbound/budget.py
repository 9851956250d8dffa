"""Adapts concurrency, rate and pauses to the refusals of a host, an account or an area."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from app import errors
from app.concurrency.resizable import ResizableSemaphore
from app.outbound.adaptive import AdaptiveLimit, Refusal
from app.outbound.failures import RequestContext
from app.outbound.limits import OutboundLimits

__all__ = ["Budget", "BudgetUpdate", "Clock"]

Clock = Callable[[], float]

_LONGEST_STREAK = 8
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_NEVER = float("-inf")
# The window for measuring a rate, in seconds, and the bounds of a rate, in requests a second. One process
# does not reach a higher rate than the upper bound, so the limit is dropped there.
_RATE_WINDOW, _SLOWEST, _FASTEST = 10.0, 1.0, 200.0
# Eight successes raise the rate by a quarter.
_RATE_GROWTH = 1.25 ** (1 / 8)
# Requests that wait for the same moment are spread over a tenth of the wait.
_SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class BudgetUpdate:
    """A change of a budget, for the other processes that use the same host.

    `pause` is in seconds from now, `rate` in requests a second; None is unlimited.
    """

    budget: str
    pause: float
    concurrency: int | None = None
    rate: float | None = None


class Budget:
    """The limits of one host, of one account there, or of one area that an account uses.

    Concurrency adapts as in `AdaptiveLimit`. Refusals of requests that were in flight together count once.
    Where refusals prevail, the rate is halved too. If they also name no time, the budget pauses for a time
    that doubles until a request succeeds.
    """

    def __init__(
        self, name: str, limits: OutboundLimits, on_update: Callable[[BudgetUpdate], None], now: Clock
    ) -> None:
        self.name = name
        self.rate: float | None = None
        self._limits = limits
        self._on_update = on_update
        self._now = now
        self._slots = ResizableSemaphore(limits.concurrency)
        self._limit = AdaptiveLimit(limits.concurrency)
        self._paused_until = self._next = self._slowed_at = _NEVER
        self._streak = 0
        self._successes: deque[float] = deque(maxlen=512)

    @property
    def concurrency(self) -> int:
        return self._slots.size

    @property
    def pause(self) -> float:
        """Seconds until the next request may be made."""
        # Each request asks several budgets, few of which have ever been paused.
        return 0.0 if self._paused_until == _NEVER else max(0.0, self._paused_until - self._now())

    @property
    def is_default(self) -> bool:
        """Whether a new budget would be the same."""
        is_full = self.concurrency == self._limits.concurrency
        return is_full and self.rate is None and not self.pause and not self._slots.users

    def slot(self) -> AbstractAsyncContextManager[None]:
        """One of the concurrent requests."""
        return self._slots.slot()

    async def wait_out(self, context: RequestContext) -> None:
        """Sleep until the pause is over; raise RateLimited without a request when that takes too long."""
        while pause := self.pause:
            self._refuse_long(pause, context)
            await asyncio.sleep(pause * (1 + _SPREAD * random.random()))  # noqa: S311 - spreads a crowd

    async def keep_pace(self, context: RequestContext) -> float:
        """Sleep until the rate allows a request, and return the time; raise RateLimited for a long wait."""
        if self.rate is not None:
            wait = max(0.0, self._next - self._now())
            self._refuse_long(wait, context)
            self._next = self._now() + wait + 1 / self.rate
            await asyncio.sleep(wait)
        return self._now()

    def record_response(
        self, refusal: Refusal | None, sent: float, *, may_pause: bool = True, may_slow: bool = True
    ) -> None:
        """Adapt to a response; `refusal` is None for every other response.

        `may_pause` allows a pause, and `may_slow` a lower rate.
        """
        self._limit.record(is_refused=refusal is not None)
        if refusal is None:
            self._record_success()
            return
        if refusal.retry_after and may_pause:
            self._paused_until = max(self._paused_until, self._now() + refusal.retry_after)
        if sent >= self._slowed_at:
            self._slow_down(refusal, may_pause=may_pause, may_slow=may_slow)
            if self.pause or self._limit.refusals_prevail:
                self._on_update(BudgetUpdate(self.name, self.pause, self.concurrency, self.rate))

    def apply_update(self, update: BudgetUpdate) -> None:
        """Take over the stricter limits of another process."""
        self._paused_until = max(self._paused_until, self._now() + update.pause)
        if update.concurrency is not None and update.concurrency < self.concurrency:
            self._limit.set(update.concurrency)
            self._slots.resize(self._limit.size)
        if update.rate is not None:
            self.rate = min(update.rate, self.rate or update.rate)

    def _refuse_long(self, wait: float, context: RequestContext) -> None:
        if wait > self._limits.patience_seconds:
            raise errors.RateLimited(
                f"{context.registry} accepts no requests for {wait:.0f} s. The request was not sent.",
                **context.members,
                retry_after=round(wait, 3),
            )

    def _record_success(self) -> None:
        self._successes.append(self._now())
        self._streak = 0
        if not self._limit.is_full:
            self._limit.grow()
            self._slots.resize(self._limit.size)
        if self.rate is not None:
            faster = self.rate * _RATE_GROWTH
            self.rate = faster if faster < _FASTEST else None

    def _slow_down(self, refusal: Refusal, *, may_pause: bool, may_slow: bool) -> None:
        self._slowed_at = self._now()
        self._limit.shrink()
        self._slots.resize(self._limit.size)
        if not (refusal.is_rate_limit and self._limit.refusals_prevail):
            return
        if may_slow and (rate := self.rate or self._measured_rate()):
            self.rate = max(_SLOWEST, rate / 2)
        if may_pause and not refusal.retry_after:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._streak)
            self._streak = min(self._streak + 1, _LONGEST_STREAK)
            self._paused_until = max(self._paused_until, self._now() + pause)

    def _measured_rate(self) -> float:
        """The successful responses a second of the last window."""
        now = self._now()
        recent = [at for at in self._successes if at > now - _RATE_WINDOW]
        return len(recent) / max(1.0, now - recent[0]) if recent else 0.0
