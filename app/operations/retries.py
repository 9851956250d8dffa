"""Whether a failed attempt is tried again, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.errors import BrokerError, Unavailable


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits grow from `base` to `cap` seconds; a Retry-After is obeyed up to `longest_wait`."""

    max_attempts: int = 5
    base: float = 0.5
    cap: float = 30.0
    longest_wait: float = 300.0


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again after `delay`; an `excused` attempt does not count against the limit."""

    delay: timedelta
    excused: bool = False


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
) -> RetryAt | GiveUp:
    """`attempt` is the number of attempts that count, this one included; `random` gives numbers in [0, 1)."""
    # The broker's own database being away says nothing about the operation: only the deadline ends that.
    excused = isinstance(failure, Unavailable)
    if not failure.retryable or (attempt >= policy.max_attempts and not excused):
        return GiveUp(failure)
    delay = timedelta(seconds=_wait(failure.retry_after, attempt, policy, random()))
    if now + delay >= deadline:
        return GiveUp(failure)
    return RetryAt(delay, excused)


def _wait(retry_after: float | None, attempt: int, policy: RetryPolicy, share: float) -> float:
    # The exponent is bounded, because two to the power of a large attempt is no float any more.
    jitter = share * min(policy.cap, policy.base * 2.0 ** min(attempt - 1, 64))
    # Jitter comes on top, or all who were told the same Retry-After come back in the same instant.
    # The comparison also turns a NaN away.
    asked = retry_after if retry_after is not None and retry_after > 0 else 0.0
    return min(asked, policy.longest_wait) + jitter
