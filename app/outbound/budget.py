"""What a registry bears: how many requests at once and how often, learnt from when it refuses them.

Registries limit rates by account: that one has used up what it may is nothing to the others. That a registry
is overloaded is.
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
from app.concurrency.resizable import Room
from app.oci.reference import canonical_registry
from app.outbound.failures import Subject
from app.outbound.limits import OutboundLimits

__all__ = ["Bearing", "Budget", "Budgets", "Lesson", "Refusal"]

Clock = Callable[[], float]

# A registry means it when half of its last answers were refusals; a single one may be chance.
_LAST_ANSWERS, _MANY_REFUSALS = 8, 4
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
# A rate is measured over so many seconds, and made slower or faster within these requests a second; faster
# than the last it is no limit that one process would come to.
_RATE_WINDOW, _SLOWEST, _FASTEST = 10.0, 1.0, 200.0
_RATE_GROWTH = 1.25
# Those who wait for the same moment come back spread over a tenth of the wait.
_SPREAD = 0.1
_KEPT_BUDGETS = 1024


@dataclass(frozen=True, slots=True)
class Refusal:
    """A 429, or a 503; `asked` are the seconds that it asked to wait, if it said."""

    asked: float | None
    is_rate_limit: bool


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a refusal taught, for those who share the registry from elsewhere.

    `budget` is the name of what learnt it. `pause` is in seconds from now, `rate` in requests a second;
    without one there is no limit.
    """

    budget: str
    pause: float
    concurrency: int | None = None
    rate: float | None = None


class Budget:
    """Of one registry, or of one account there, in this process: additive increase, multiplicative decrease.

    A refusal halves the concurrency, once for all that had been sent by then; a clean window, as many answers
    as there may be requests at once, adds one. Where refusals prevail the rate is halved too, and if they
    don't say for how long, a pause is made up that doubles until a request is answered.
    """

    def __init__(
        self, name: str, limits: OutboundLimits, on_lesson: Callable[[Lesson], None], now: Clock
    ) -> None:
        self.name = name
        self.rate: float | None = None
        self._limits = limits
        self._on_lesson = on_lesson
        self._now = now
        self._room = Room(limits.concurrency)
        self._until = self._next = self._eased_at = float("-inf")
        self._streak = self._clean = 0
        self._refusals: deque[bool] = deque(maxlen=_LAST_ANSWERS)
        self._answers: deque[float] = deque(maxlen=512)

    @property
    def concurrency(self) -> int:
        return self._room.size

    @property
    def share(self) -> float:
        return self.concurrency / self._limits.concurrency

    @property
    def pause(self) -> float:
        """Seconds in which the registry wants no request."""
        return max(0.0, self._until - self._now())

    @property
    def is_plain(self) -> bool:
        """Whether nothing is lost if it is made anew."""
        is_full = self.concurrency == self._limits.concurrency
        return is_full and self.rate is None and not self.pause and self._room.is_empty

    def place(self) -> AbstractAsyncContextManager[None]:
        """One among the requests at once."""
        return self._room.place()

    async def wait_out(self, subject: Subject) -> None:
        """Until a pause is over; RateLimited, unasked, when that takes too long."""
        while pause := self.pause:
            self._refuse_long(pause, subject)
            await asyncio.sleep(pause * (1 + _SPREAD * random.random()))  # noqa: S311 - spreads a crowd

    async def keep_pace(self, subject: Subject) -> float:
        """Until the rate allows one more; gives the time. RateLimited, unasked, when that takes too long."""
        if self.rate is not None:
            wait = max(0.0, self._next - self._now())
            self._refuse_long(wait, subject)
            self._next = self._now() + wait + 1 / self.rate
            await asyncio.sleep(wait)
        return self._now()

    def heard(self, refusal: Refusal | None, sent: float) -> None:
        """After each answer, whatever it was."""
        self._refusals.append(refusal is not None)
        if refusal is None:
            self._accept()
            return
        if refusal.asked:
            self._until = max(self._until, self._now() + refusal.asked)
        if sent >= self._eased_at:
            self._ease(refusal)
            if self.pause or self._prevail:
                self._on_lesson(Lesson(self.name, self.pause, self.concurrency, self.rate))

    def adopt(self, lesson: Lesson) -> None:
        """What another process learnt: it holds for this one, too."""
        self._until = max(self._until, self._now() + lesson.pause)
        if lesson.concurrency is not None and lesson.concurrency < self.concurrency:
            self._room.resize(max(1, lesson.concurrency))
        if lesson.rate is not None:
            self.rate = min(lesson.rate, self.rate or lesson.rate)

    def _refuse_long(self, wait: float, subject: Subject) -> None:
        if wait > self._limits.patience_seconds:
            raise errors.RateLimited(
                f"{subject.registry} wants no requests for {wait:.0f} s, as it said before; it was not asked",
                **subject.members,
                retry_after=round(wait, 3),
            )

    def _accept(self) -> None:
        self._answers.append(self._now())
        self._streak = 0
        self._clean += 1
        if self._clean >= max(self.concurrency, _LAST_ANSWERS):
            self._clean = 0
            self._room.resize(min(self.concurrency + 1, self._limits.concurrency))
            if self.rate is not None:
                faster = self.rate * _RATE_GROWTH
                self.rate = faster if faster < _FASTEST else None

    def _ease(self, refusal: Refusal) -> None:
        self._eased_at = self._now()
        self._clean = 0
        self._room.resize(max(1, self.concurrency // 2))
        if not (refusal.is_rate_limit and self._prevail):
            return
        if rate := self.rate or self._measured():
            self.rate = max(_SLOWEST, rate / 2)
        if not refusal.asked:
            made_up = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._streak)
            self._streak = min(self._streak + 1, _LAST_ANSWERS)
            self._until = max(self._until, self._now() + made_up)

    @property
    def _prevail(self) -> bool:
        return sum(self._refusals) >= _MANY_REFUSALS

    def _measured(self) -> float:
        """The answers a second that the registry gave lately."""
        now = self._now()
        lately = [at for at in self._answers if at > now - _RATE_WINDOW]
        return len(lately) / max(1.0, now - lately[0]) if lately else 0.0


class Bearing:
    """What a registry bears of one account: its own budget, and that of the account, if there is one."""

    def __init__(self, registry: Budget, account: Budget | None) -> None:
        self._registry = registry
        self._limited = account or registry
        self._budgets = (registry,) if account is None else (account, registry)

    @property
    def pause(self) -> float:
        """Seconds in which no request is wanted."""
        return max(budget.pause for budget in self._budgets)

    @property
    def share(self) -> float:
        """How much it bears of the requests at once that it is given if it refuses none."""
        return min(budget.share for budget in self._budgets)

    @asynccontextmanager
    async def slot(self, subject: Subject) -> AsyncIterator[float]:
        """Held while a request is made; gives the time at which it is sent."""
        async with AsyncExitStack() as stack:
            for budget in self._budgets:
                await stack.enter_async_context(budget.place())
            yield await self.admit(subject)

    async def admit(self, subject: Subject) -> float:
        """Waits out short pauses, and keeps to the rates; RateLimited, unasked, when that takes too long."""
        while True:
            for budget in self._budgets:
                await budget.wait_out(subject)
            sent = max([await budget.keep_pace(subject) for budget in self._budgets])
            # While one was waited for, another may have closed.
            if not self.pause:
                return sent

    def heard(self, refusal: Refusal | None, sent: float) -> None:
        """After each answer, whatever it was."""
        if refusal is None:
            for budget in self._budgets:
                budget.heard(None, sent)
        elif refusal.is_rate_limit:
            self._limited.heard(refusal, sent)
        else:
            self._registry.heard(refusal, sent)


class Budgets:
    """Those of all registries; `on_lesson` is told what others should know."""

    def __init__(self, limits: OutboundLimits, now: Clock = time.monotonic) -> None:
        self.on_lesson: Callable[[Lesson], None] | None = None
        self._limits = limits
        self._now = now
        self._budgets: dict[str, Budget] = {}

    def at(self, registry: str, account: str | None = None) -> Bearing:
        """What is kept to in requests for an account of a registry; without one it is asked for nobody."""
        host = canonical_registry(registry)
        # No registry has such a name.
        return Bearing(self.of(host), None if account is None else self.of(f"{host}#{account}"))

    def of(self, name: str) -> Budget:
        name = canonical_registry(name)
        budget = self._budgets.get(name)
        if budget is None:
            self._forget_plain()
            budget = self._budgets[name] = Budget(name, self._limits, self._tell, self._now)
        return budget

    def adopt(self, lesson: Lesson) -> None:
        self.of(lesson.budget).adopt(lesson)

    def _tell(self, lesson: Lesson) -> None:
        if self.on_lesson is not None:
            self.on_lesson(lesson)

    def _forget_plain(self) -> None:
        # Callers name registries as they like: what was learnt of none is not worth its memory.
        if len(self._budgets) >= _KEPT_BUDGETS:
            self._budgets = {name: each for name, each in self._budgets.items() if not each.is_plain}
