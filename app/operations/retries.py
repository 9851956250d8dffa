"""Whether a failed attempt is repeated, and when."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.errors import BrokerError, RegistryError, Unavailable


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays grow from `base` to `cap` seconds; `shortest_wait` and `longest_wait` bound a Retry-After.

    A registry's pause beyond `longest_park` is not waited for; its failure becomes the operation's problem.
    `max_attempts` also limits the workers that crash during an operation: `store.queue.end_overdue` then ends
    it as attempts-exhausted.
    """

    max_attempts: int = 5
    base: float = 0.5
    cap: float = 30.0
    shortest_wait: float = 0.25
    longest_wait: float = 300.0
    longest_park: float = math.inf


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Repeat after `delay`; an `excused` attempt does not count against the limit."""

    delay: timedelta
    excused: bool = False


@dataclass(frozen=True, slots=True)
class Park:
    """Repeat after the pause that a registry asked for; the attempt does not count against the limit."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The failure is final and becomes the operation's problem."""

    failure: BrokerError


def decide(
    failure: BrokerError,
    *,
    attempt: int,
    now: datetime,
    deadline: datetime,
    policy: RetryPolicy,
    random: Callable[[], float],
    excused_before: int = 0,
) -> RetryAt | Park | GiveUp:
    """Decide what follows a failed attempt.

    `attempt` is the number of attempts that count, this one included, and `excused_before` the number of the
    others. `random` returns numbers in [0, 1).
    """
    # Neither an outage of the broker's own database nor a registry's pause says anything about the operation:
    # only the deadline ends the waiting.
    is_pause = _asks_for_pause(failure)
    excused = is_pause or isinstance(failure, Unavailable)
    if not failure.retryable or (attempt >= policy.max_attempts and not excused):
        return GiveUp(failure)
    # Delays grow with each pause, for a registry that asks for one short pause after another.
    tried = attempt + excused_before if is_pause else attempt
    delay = timedelta(seconds=_wait(failure.retry_after, tried, policy, random()))
    if now + delay >= deadline or (is_pause and (failure.retry_after or 0) > policy.longest_park):
        return GiveUp(failure)
    return Park(delay) if is_pause else RetryAt(delay, excused)


def _asks_for_pause(failure: BrokerError) -> bool:
    # The comparison is also false for NaN.
    return isinstance(failure, RegistryError) and (failure.retry_after or 0) > 0


def _wait(retry_after: float | None, tried: int, policy: RetryPolicy, share: float) -> float:
    # The exponent is bounded, because two to the power of a large attempt overflows a float.
    jitter = share * min(policy.cap, policy.base * 2.0 ** min(tried - 1, 64))
    # Jitter comes on top, or all clients with the same Retry-After would come back at the same instant.
    # The comparison is also false for NaN.
    if retry_after is None or not retry_after >= 0:
        return jitter
    return min(max(retry_after, policy.shortest_wait), policy.longest_wait) + jitter
