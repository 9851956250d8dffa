"""A concurrency limit that follows the share of refusals among the last responses; pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["AdaptiveLimit", "Refusal"]

_LAST_RESPONSES = 16
# Up to this share of refusals is treated as chance.
_TOLERATED = 1 / 8
# Refusals prevail if they are half of the last responses, or all of the last few.
_IN_A_ROW = 4
# The minimum number of successes that restores a slot.
_RECOVERY = 16
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rate limit or a 503. `retry_after` is in seconds, or None if the response names no time."""

    retry_after: float | None
    is_rate_limit: bool


class AdaptiveLimit:
    """Additive increase, proportional decrease (as DCTCP, RFC 8257).

    A refusal lowers the limit in proportion to the share of refusals among the last responses. The limit
    halves if all of them were refusals. A single refusal may be chance and does not lower it. When the number
    of successes reaches the limit, the limit rises by one. Refusals in between do not reset that count: with
    every second request refused, a series without a refusal would never occur.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        # The unrounded limit, so that small changes add up.
        self._level = self._most
        self._refusals: deque[bool] = deque(maxlen=_LAST_RESPONSES)

    @property
    def size(self) -> int:
        return int(self._level + _ROUNDING)

    @property
    def is_full(self) -> bool:
        return self._level == self._most

    @property
    def refusals_prevail(self) -> bool:
        latest = list(self._refusals)[-_IN_A_ROW:]
        is_half = len(self._refusals) >= _LAST_RESPONSES / 2 and 2 * self._share >= 1
        return is_half or (len(latest) == _IN_A_ROW and all(latest))

    def record(self, *, is_refused: bool) -> None:
        """Count a response."""
        self._refusals.append(is_refused)

    def grow(self) -> None:
        self.set(self._level + 1 / max(self._level, _RECOVERY))

    def shrink(self, *, least: int = 1) -> None:
        """Lower the limit by the share of refusals, but not below `least`."""
        excess = max(0.0, self._share - _TOLERATED) / (1 - _TOLERATED)
        self.set(min(self._level, max(least, self._level * (1 - excess / 2))))

    def set(self, level: float) -> None:
        self._level = min(max(1.0, level), self._most)

    @property
    def _share(self) -> float:
        return sum(self._refusals) / max(1, len(self._refusals))
