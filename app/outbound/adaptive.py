"""A limit of concurrency that follows the share of refusals among the last responses; pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["AdaptiveLimit", "Refusal"]

_LAST_RESPONSES = 16
# The share of the last responses that may be refusals by chance.
_TOLERATED = 1 / 8
# Refusals prevail when half of the last responses are, or the last few all.
_IN_A_ROW = 4
# The fewest successes that restore a slot.
_RECOVERY = 16
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rate limit, or a 503; `retry_after` is in seconds, None if the response names no time."""

    retry_after: float | None
    is_rate_limit: bool


class AdaptiveLimit:
    """Additive increase, proportional decrease (as DCTCP, RFC 8257).

    A refusal lowers the limit in proportion to the share of refusals among the last responses: to half if all
    were refused, not at all for a lone one, which may be chance. As many successes as the limit raise it by
    one, whatever is refused between them: at a fault in two, no series is ever without a refusal.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        # The limit before it is rounded, so that small changes add up.
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
        """Follow the share of refusals, but not below `least`."""
        excess = max(0.0, self._share - _TOLERATED) / (1 - _TOLERATED)
        self.set(min(self._level, max(least, self._level * (1 - excess / 2))))

    def set(self, level: float) -> None:
        self._level = min(max(1.0, level), self._most)

    @property
    def _share(self) -> float:
        return sum(self._refusals) / max(1, len(self._refusals))
