"""Adapts concurrency, rate and pauses to the refusals of a host, for the host and for each account there.

Rate limits count by account, so a 429 slows one account; an overloaded host slows every account.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app import errors
from app.concurrency.resizable import ResizableSemaphore
from app.oci.reference import canonical_registry
from app.outbound.adaptive import AdaptiveLimit, Refusal
from app.outbound.failures import RequestContext
from app.outbound.limits import OutboundLimits

__all__ = ["AccountBudget", "Budget", "BudgetUpdate", "Budgets"]

Clock = Callable[[], float]

_LONGEST_STREAK = 8
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
# The window for measuring a rate, in seconds, and the bounds of a rate, in requests a second. One process
# does not reach a higher rate than the upper bound, so the limit is dropped there.
_RATE_WINDOW, _SLOWEST, _FASTEST = 10.0, 1.0, 200.0
# Eight successes raise a rate by a quarter.
_RATE_GROWTH = 1.25 ** (1 / 8)
# Requests that wait for the same moment are spread over a tenth of the wait.
_SPREAD = 0.1
_KEPT_BUDGETS = 1024


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
    """The limits of one host, or of one account there.

    The concurrency adapts as in `AdaptiveLimit`, to one refusal of all requests that were already sent.
    Where refusals prevail the rate is halved too, and if they name no time, the budget pauses for a time
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
        self._paused_until = self._next = self._slowed_at = float("-inf")
        self._streak = 0
        self._successes: deque[float] = deque(maxlen=512)

    @property
    def concurrency(self) -> int:
        return self._slots.size

    @property
    def pause(self) -> float:
        """Seconds until the next request may be made."""
        return max(0.0, self._paused_until - self._now())

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

    def record_response(self, refusal: Refusal | None, sent: float) -> None:
        """Adapt to a response; `refusal` is None for every other response."""
        self._limit.record(is_refused=refusal is not None)
        if refusal is None:
            self._record_success()
            return
        if refusal.retry_after:
            self._paused_until = max(self._paused_until, self._now() + refusal.retry_after)
        if sent >= self._slowed_at:
            self._slow_down(refusal)
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
        self._limit.grow()
        self._slots.resize(self._limit.size)
        if self.rate is not None:
            faster = self.rate * _RATE_GROWTH
            self.rate = faster if faster < _FASTEST else None

    def _slow_down(self, refusal: Refusal) -> None:
        self._slowed_at = self._now()
        self._limit.shrink()
        self._slots.resize(self._limit.size)
        if not (refusal.is_rate_limit and self._limit.refusals_prevail):
            return
        if rate := self.rate or self._measured_rate():
            self.rate = max(_SLOWEST, rate / 2)
        if not refusal.retry_after:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._streak)
            self._streak = min(self._streak + 1, _LONGEST_STREAK)
            self._paused_until = max(self._paused_until, self._now() + pause)

    def _measured_rate(self) -> float:
        """The successful responses a second of the last window."""
        now = self._now()
        recent = [at for at in self._successes if at > now - _RATE_WINDOW]
        return len(recent) / max(1.0, now - recent[0]) if recent else 0.0


class AccountBudget:
    """The budgets that a request keeps to: the host's, and the account's if it has one."""

    def __init__(self, registry: Budget, account: Budget | None) -> None:
        self._registry = registry
        self._limited = account or registry
        self._budgets = (registry,) if account is None else (account, registry)

    @property
    def pause(self) -> float:
        """Seconds until the next request may be made."""
        return max(budget.pause for budget in self._budgets)

    @asynccontextmanager
    async def slot(self, context: RequestContext) -> AsyncIterator[float]:
        """Hold a slot of each budget while a request is made; yields the time at which it is sent."""
        async with AsyncExitStack() as stack:
            for budget in self._budgets:
                await stack.enter_async_context(budget.slot())
            yield await self.admit(context)

    async def admit(self, context: RequestContext) -> float:
        """Wait out short pauses and keep to the rates; raise RateLimited, unsent, for a long wait."""
        while True:
            for budget in self._budgets:
                await budget.wait_out(context)
            sent = max([await budget.keep_pace(context) for budget in self._budgets])
            # During one wait another budget may have been paused.
            if not self.pause:
                return sent

    def record_response(self, refusal: Refusal | None, sent: float) -> None:
        """Adapt to a response; `refusal` is None for every other response."""
        if refusal is None:
            for budget in self._budgets:
                budget.record_response(None, sent)
        elif refusal.is_rate_limit:
            self._limited.record_response(refusal, sent)
        else:
            self._registry.record_response(refusal, sent)


class Budgets:
    """The budgets of all hosts; `on_update` receives the changes that other processes need."""

    def __init__(self, limits: OutboundLimits, now: Clock = time.monotonic) -> None:
        self.on_update: Callable[[BudgetUpdate], None] | None = None
        self._limits = limits
        self._now = now
        self._budgets: dict[str, Budget] = {}

    def at(self, registry: str, account: str | None = None) -> AccountBudget:
        """The budgets for requests of an account; without an account, the host's alone."""
        host = canonical_registry(registry)
        # No host has such a name.
        return AccountBudget(self.of(host), None if account is None else self.of(f"{host}#{account}"))

    def of(self, name: str) -> Budget:
        name = canonical_registry(name)
        budget = self._budgets.get(name)
        if budget is None:
            self._forget_defaults()
            budget = self._budgets[name] = Budget(name, self._limits, self._publish, self._now)
        return budget

    def apply_update(self, update: BudgetUpdate) -> None:
        self.of(update.budget).apply_update(update)

    def _publish(self, update: BudgetUpdate) -> None:
        if self.on_update is not None:
            self.on_update(update)

    def _forget_defaults(self) -> None:
        # Callers may name any number of hosts: a budget without changes is not worth its memory.
        if len(self._budgets) >= _KEPT_BUDGETS:
            self._budgets = {name: each for name, each in self._budgets.items() if not each.is_default}
