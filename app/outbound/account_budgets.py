"""The budgets of hosts, of the accounts there, and of the areas that accounts use.

A refusal pauses one area, such as a namespace of a registry, for the account that received it. The pause
reaches further only if `Witnesses` holds a corroborating refusal, or if the request had no account. Without
this rule, a server that answers for only part of a host, such as a proxy that a tenant controls, could close
the host to everybody.
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
# A refusal corroborates others for this long, or for as long as the wait that it asked for.
_FRESH = 60.0
_MOST_WITNESSES = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """The destination of a request: an area of a host, such as a namespace, under a tenant's account."""

    tenant: str
    account: str
    area: str


@dataclass(frozen=True, slots=True)
class _Witness:
    refusal: Refusal
    until: float
    """The end of the wait that the refusal asked for; the time of the refusal if it asked for none."""


class Witnesses:
    """The last refusals of one host, by the place that received them."""

    def __init__(self) -> None:
        self._seen: dict[Place, _Witness] = {}

    def record(self, place: Place, refusal: Refusal, now: float) -> None:
        if len(self._seen) >= _MOST_WITNESSES:
            self._seen = {each: seen for each, seen in self._seen.items() if now < seen.until + _FRESH}
        if len(self._seen) >= _MOST_WITNESSES:
            self._seen.clear()
        self._seen[place] = _Witness(refusal, now + (refusal.retry_after or 0.0))

    def forget(self, place: Place) -> None:
        """Forget the refusal of a place after a success there."""
        self._seen.pop(place, None)

    def for_account(self, place: Place, refusal: Refusal, now: float) -> Refusal | None:
        """The refusal that applies to the whole account, if another of its areas was refused too."""
        others = [
            seen
            for other, seen in self._fresh(now)
            if other.account == place.account and other.area != place.area
        ]
        return _corroborated(refusal, others, now)

    def for_host(self, place: Place, refusal: Refusal, now: float) -> Refusal | None:
        """The refusal that applies to everybody, if another tenant was refused in another area too.

        Rate limits apply to accounts, so they are no evidence about the host.
        """
        if refusal.is_rate_limit:
            return None
        others = [
            seen
            for other, seen in self._fresh(now)
            if other.tenant != place.tenant and other.area != place.area and not seen.refusal.is_rate_limit
        ]
        return _corroborated(refusal, others, now)

    def _fresh(self, now: float) -> Iterator[tuple[Place, _Witness]]:
        return ((place, seen) for place, seen in self._seen.items() if now < seen.until + _FRESH)


def _corroborated(refusal: Refusal, others: list[_Witness], now: float) -> Refusal | None:
    """The refusal that two places corroborate, with the shorter of their waits."""
    if not others:
        return None
    longest = max(0.0, max(seen.until for seen in others) - now)
    return Refusal(min(refusal.retry_after or 0.0, longest) or None, refusal.is_rate_limit)


class AccountBudget:
    """The budgets that apply to a request.

    `own` are the budgets of the area, if there is one, and of the account. A request without an account has
    neither `own` budgets nor a `place`. Slots come from `own` budgets alone, so the requests of one account
    that wait for a slow host take no slot from another account.
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
        """Hold a slot while a request runs; yield the time at which it is sent."""
        async with AsyncExitStack() as stack:
            for budget in self._own or self._all:
                await stack.enter_async_context(budget.slot())
            yield await self.admit(context)

    async def admit(self, context: RequestContext) -> float:
        """Wait for short pauses and rate limits. For a long wait, raise RateLimited before sending."""
        while True:
            for budget in self._all:
                await budget.wait_out(context)
            sent = max([await budget.keep_pace(context) for budget in self._all])
            # Another budget may have been paused during the wait.
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
            # Rates adapt per account, because an area has too few requests to measure one.
            area.record_response(refusal, sent, may_slow=False)
        of_account = self._witnesses.for_account(place, refusal, now) if areas else refusal
        account.record_response(of_account or refusal, sent, may_pause=of_account is not None)
        of_host = self._witnesses.for_host(place, refusal, now)
        if of_host is not None:
            self._host.record_response(of_host, sent)
        self._witnesses.record(place, refusal, now)


class Budgets:
    """The budgets of all hosts. `on_update` receives the changes that other processes need."""

    def __init__(self, limits: OutboundLimits, now: Clock = time.monotonic) -> None:
        self.on_update: Callable[[BudgetUpdate], None] | None = None
        self._limits = limits
        self._now = now
        self._budgets: dict[str, Budget] = {}
        self._witnesses: dict[str, Witnesses] = {}

    def at(self, registry: str, account: str | None = None, area: str = "") -> AccountBudget:
        """The budgets for an account's requests to an area; without an account, only the host's budget.

        An account's name begins with the name of its tenant and a dot.
        """
        host = canonical_registry(registry)
        # No host name can collide with these names of accounts and areas.
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
        # Callers may name any number of hosts, so budgets in their initial state are dropped to save memory.
        if len(self._budgets) >= _KEPT_BUDGETS:
            self._budgets = {name: each for name, each in self._budgets.items() if not each.is_default}
