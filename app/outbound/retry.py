"""Decides whether and when a failed request is made again; pure, without a clock or a network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from app.outbound.limits import OutboundLimits

__all__ = ["Outcome", "is_passing", "parse_reset", "parse_retry_after", "plan_retry"]

# 408 and 425 ask for a retry, 429 says when, 499 comes from proxies. The final ones of the server errors name
# an inability: not implemented, HTTP version, network authentication.
_PASSING = frozenset({408, 425, 429, 499, *range(500, 600)} - {501, 505, 511})
_LONGEST_WAIT = 300.0
_UNITS = {"m": 60.0, "min": 60.0, "mins": 60.0, "minute": 60.0, "minutes": 60.0}
_UNITS |= dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0)
_UNITS |= dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001)
# Both of Unicode's signs for micro, and their JSON escapes: GHCR writes its shortest waits so.
_MICROS = ("us", "µs", "μs", "\\u00b5s", "\\u03bcs", "microsecond", "microseconds")
_UNITS |= dict.fromkeys(_MICROS, 1e-6)
_UNITS |= dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9)
_UNITS |= dict.fromkeys(("h", "hour", "hours"), 3600.0)
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_UNIT = "|".join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))
# Go writes durations as 1m12.5s.
_AMOUNT = rf"((?:{_NUMBER}\s*(?:{_UNIT})\s*)+|{_NUMBER})"
_SECONDS = re.compile(rf"\s*{_AMOUNT}\s*", re.ASCII | re.IGNORECASE)
# A number in an unknown unit is ignored: read as seconds, it could pause the host for long.
_IN_TEXT = re.compile(
    rf"(?:retry[-_ ]?after|(?:try again|retry) in)\\?[\"']?\s*[:=]?\s*\\?[\"']?{_AMOUNT}"
    r"(?:(?<=\s)|(?!\.?[0-9]|[^\s\\\"',;:.!?)\]}<]|\\u))",
    re.ASCII | re.IGNORECASE,
)
# The members of `"default";r=0;t=50`, in order. Further items of the list are other quotas.
_USED_UP = re.compile(r";\s*r=0\b[^,]*?;\s*t=([0-9]{1,9})\b", re.ASCII)
_COUNT = re.compile(r"\s*([0-9]{1,12})\b", re.ASCII)
# No quota lasts for thirty years, so a larger number is a Unix timestamp.
_UNIX_TIMES = 1e9
_PART = re.compile(rf"({_NUMBER})\s*({_UNIT})?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One failed attempt."""

    may_pass: bool
    retry_after: float | None = None
    was_lost: bool = False
    """The connection ended without a response, as kept connections do that were idle for too long."""


def is_passing(status: int) -> bool:
    """Whether the same request may have another result later."""
    return status in _PASSING


def plan_retry(
    outcome: Outcome, *, attempt: int, spent: float, jitter: float, limits: OutboundLimits
) -> float | None:
    """Seconds to wait before the next attempt, or None to give up.

    `attempt` is the failed one, counted from 1; `jitter` is random in [0, 1). If the host asks for a longer
    wait than the call has, the call gives up at once: its caller can wait better.
    """
    if not outcome.may_pass or attempt >= limits.attempts:
        return None
    if outcome.was_lost and attempt == 1:
        return 0.0 if spent < limits.call_seconds else None
    backoff = min(limits.backoff_seconds * 2 ** (attempt - 1), limits.longest_backoff_seconds)
    if outcome.retry_after is None:
        # Half of the wait is fixed: the crowd spreads out, and no request comes back at once.
        wait = backoff * (0.5 + jitter / 2)
    else:
        # All waiting requests have the same answer: the jitter comes on top and spreads them.
        wait = max(outcome.retry_after, limits.shortest_asked_seconds) + backoff * jitter
    return wait if spent + wait < limits.call_seconds else None


def parse_retry_after(header: str | None, text: str = "", *, now: datetime | None = None) -> float | None:
    """Seconds that a response asks to wait: from Retry-After as number or date, or from its text."""
    if header is not None:
        seconds = _parse_seconds(header)
        if seconds is None:
            seconds = _parse_date(header, now or datetime.now(UTC))
        if seconds is not None:
            return min(seconds, _LONGEST_WAIT)
    found = _IN_TEXT.search(text)
    return None if found is None else min(_sum(found[1]), _LONGEST_WAIT)


def parse_reset(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Seconds until an exhausted quota resets, from RateLimit headers in any of their forms.

    The forms are RateLimit of the current IETF draft, and RateLimit-Remaining and RateLimit-Reset of earlier
    drafts, with or without X-. The X- forms may give the reset as a Unix timestamp.
    """
    waits = [float(found[1]) for found in _USED_UP.finditer(headers.get("RateLimit", ""))]
    for prefix in ("RateLimit", "X-RateLimit"):
        left, reset = (_COUNT.match(headers.get(f"{prefix}-{name}", "")) for name in ("Remaining", "Reset"))
        if left is not None and reset is not None and not int(left[1]):
            waits.append(float(reset[1]))
    moment = (now or datetime.now(UTC)).timestamp()
    seconds = [wait - moment if wait >= _UNIX_TIMES else wait for wait in waits]
    return min(max(0.0, *seconds), _LONGEST_WAIT) if seconds else None


def _parse_seconds(text: str) -> float | None:
    found = _SECONDS.fullmatch(text)
    return None if found is None else _sum(found[1])


def _sum(amount: str) -> float:
    return sum(float(number) * _UNITS[(unit or "s").lower()] for number, unit in _PART.findall(amount))


def _parse_date(text: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
