"""The budgets of hosts, of the accounts there, and of the areas that accounts use.

A refusal pauses the area that it came for, such as the namespace of a registry, for the account that met it.
It reaches further as far as `Witnesses` bear it out, or if it came to a request of no account. Otherwise
whatever answers for one part of a host, such as a proxy that a tenant controls, could close it to everybody.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app.oci.reference import canonical_registry
from app.outbound.adaptive import Refusal
from app.outbound.budget import Budget, BudgetUpdate, Clock
from app.outbound.failures import RequestContext
from app.outbound.limits import OutboundLimits

__all__ = ["AccountBudget", "Budgets", "Place", "Witnesses"]

_KEPT_BUDGETS = 1024
# For so long a refusal bears out others, or for as long as it asked to wait.
_FRESH = 60.0
_MOST_WITNESSES = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes: an area of a host, such as a namespace, under an account of a tenant."""

    tenant: str
    account: str
    area: str


@dataclass(frozen=True, slots=True)
class _Witness:
    refusal: Refusal
    until: float
    """The end of the wait that the refusal asked for; the time of the refusal if it asked for none."""


class Witnesses:
    """The last refusals of one host, by the places that they came for."""

    def __init__(self) -> None:
        self._seen: dict[Place, _Witness] = {}

    def record(self, place: Place, refusal: Refusal, now: float) -> None:
        if len(self._seen) >= _MOST_WITNESSES:
            self._seen = {each: seen for each, seen in self._seen.items() if now < seen.until + _FRESH}
        if len(self._seen) >= _MOST_WITNESSES:
            self._seen.clear()
        self._seen[place] = _Witness(refusal, now + (refusal.retry_after or 0.0))

    def forget(self, place: Place) -> None:
        """After a success there."""
        self._seen.pop(place, None)

    def for_account(self, place: Place, refusal: Refusal, now: float) -> Refusal | None:
        """The refusal as far as it counts for the account: another of its areas was refused, too."""
        others = [
            seen
            for other, seen in self._fresh(now)
            if other.account == place.account and other.area != place.area
        ]
        return _joint(refusal, others, now)

    def for_host(self, place: Place, refusal: Refusal, now: float) -> Refusal | None:
        """The refusal as far as it counts for everybody: another tenant was refused in another area, too.

        Rate limits count by account, so they say nothing about the host.
        """
        if refusal.is_rate_limit:
            return None
        others = [
            seen
            for other, seen in self._fresh(now)
            if other.tenant != place.tenant and other.area != place.area and not seen.refusal.is_rate_limit
        ]
        return _joint(refusal, others, now)

    def _fresh(self, now: float) -> Iterator[tuple[Place, _Witness]]:
        return ((place, seen) for place, seen in self._seen.items() if now < seen.until + _FRESH)


def _joint(refusal: Refusal, others: list[_Witness], now: float) -> Refusal | None:
    """What two places agree on: the shorter of the waits that they were asked for."""
    if not others:
        return None
    longest = max(0.0, max(seen.until for seen in others) - now)
    return Refusal(min(refusal.retry_after or 0.0, longest) or None, refusal.is_rate_limit)


class AccountBudget:
    """The budgets that a request keeps to.

    `own` are those of the area, if there is one, and of the account; a request of no account has none, and no
    `place`. Slots are taken from them alone: however many requests of one account wait for a slow host, they
    take none from another account.
    """

    def __init__(
        self, host: Budget, own: tuple[Budget, ...], place: Place | None, witnesses: Witnesses, now: Clock
    ) -> None:
        self._host = host
        self._own = own
        self._all = (*own, host)
        self._place = place
        self._witnesses = witnesses
        self._now = now

    @property
    def pause(self) -> float:
        """Seconds until the next request may be made."""
        return max([budget.pause for budget in self._all])

    @asynccontextmanager
    async def slot(self, context: RequestContext) -> AsyncIterator[float]:
        """Hold a slot while a request is made; yields the time at which it is sent."""
        async with AsyncExitStack() as stack:
            for budget in self._own or self._all:
                await stack.enter_async_context(budget.slot())
            yield await self.admit(context)

    async def admit(self, context: RequestContext) -> float:
        """Wait out short pauses and keep to the rates; raise RateLimited, unsent, for a long wait."""
        while True:
            for budget in self._all:
                await budget.wait_out(context)
            sent = max([await budget.keep_pace(context) for budget in self._all])
            # During one wait another budget may have been paused.
            if not self.pause:
                return sent

    def record_response(self, refusal: Refusal | None, sent: float) -> None:
        """Adapt to a response; `refusal` is None for every other response."""
        if refusal is None:
            for budget in self._all:
                budget.record_response(None, sent)
            if self._place is not None:
                self._witnesses.forget(self._place)
        elif self._place is None:
            self._host.record_response(refusal, sent)
        else:
            self._record_refusal(refusal, sent, self._place)

    def _record_refusal(self, refusal: Refusal, sent: float, place: Place) -> None:
        *areas, account = self._own
        now = self._now()
        for area in areas:
            # A rate is the account's: an area has too few requests to measure one.
            area.record_response(refusal, sent, may_slow=False)
        of_account = self._witnesses.for_account(place, refusal, now) if areas else refusal
        account.record_response(of_account or refusal, sent, may_pause=of_account is not None)
        of_host = self._witnesses.for_host(place, refusal, now)
        if of_host is not None:
            self._host.record_response(of_host, sent)
        self._witnesses.record(place, refusal, now)


class Budgets:
    """The budgets of all hosts; `on_update` receives the changes that other processes need."""

    def __init__(self, limits: OutboundLimits, now: Clock = time.monotonic) -> None:
        self.on_update: Callable[[BudgetUpdate], None] | None = None
        self._limits = limits
        self._now = now
        self._budgets: dict[str, Budget] = {}
        self._witnesses: dict[str, Witnesses] = {}

    def at(self, registry: str, account: str | None = None, area: str = "") -> AccountBudget:
        """The budgets for requests of an account to an area; without an account, the host's alone.

        An account's name begins with its tenant's and a dot.
        """
        host = canonical_registry(registry)
        # No host has names such as those of accounts and areas.
        names = [] if account is None else [f"{host}#{account}"]
        if names and area:
            names.insert(0, f"{names[0]}/{area}")
        place = None if account is None else Place(account.partition(".")[0], account, area)
        own = tuple(self.of(name) for name in names)
        return AccountBudget(self.of(host), own, place, self._witnesses_at(host), self._now)

    def of(self, name: str) -> Budget:
        name = canonical_registry(name)
        budget = self._budgets.get(name)
        if budget is None:
            self._forget_defaults()
            budget = self._budgets[name] = Budget(name, self._limits, self._publish, self._now)
        return budget

    def apply_update(self, update: BudgetUpdate) -> None:
        self.of(update.budget).apply_update(update)

    def _witnesses_at(self, host: str) -> Witnesses:
        witnesses = self._witnesses.get(host)
        if witnesses is None:
            if len(self._witnesses) >= _KEPT_BUDGETS:
                self._witnesses.clear()
            witnesses = self._witnesses[host] = Witnesses()
        return witnesses

    def _publish(self, update: BudgetUpdate) -> None:
        if self.on_update is not None:
            self.on_update(update)

    def _forget_defaults(self) -> None:
        # Callers may name any number of hosts: a budget without changes is not worth its memory.
        if len(self._budgets) >= _KEPT_BUDGETS:
            self._budgets = {name: each for name, each in self._budgets.items() if not each.is_default}
