"""How requests to a repository are authorized, as its own 401s have taught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.registry.auth.challenge import Challenge
from app.registry.auth.scope import Scopes

__all__ = ["LearnedWays", "Way", "WayKey"]

_MOST = 4096


@dataclass(frozen=True, slots=True)
class Way:
    """A challenge to answer, and the scopes to ask for."""

    challenge: Challenge
    scopes: Scopes

    def is_same(self, other: Way) -> bool:
        return self.scopes == other.scopes and _asks_alike(self.challenge, other.challenge)


@dataclass(frozen=True, slots=True)
class WayKey:
    """Every member is needed: one caller's answer, or one repository's, teaches nothing to others (T45)."""

    registry: str
    insecure: bool
    account: str
    path: str


class LearnedWays:
    """Remembers for a limited time what differs from the challenge of `GET /v2/`.

    The challenge is remembered for a repository, the scopes for requests that need the same rights.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._challenges: dict[WayKey, tuple[float, Challenge]] = {}
        self._scopes: dict[tuple[WayKey, Scopes], tuple[float, Scopes]] = {}

    def find(self, key: WayKey, challenge: Challenge | None, scopes: Scopes) -> Way | None:
        """The way for a request; `challenge` and `scopes` are the ones that apply if nothing was learnt."""
        until, learnt = self._challenges.get(key, (0.0, None))
        challenge = learnt if learnt is not None and self._now() < until else challenge
        if challenge is None:
            return None
        until, asked = self._scopes.get((key, scopes), (0.0, scopes))
        return Way(challenge, asked if self._now() < until else scopes)

    def record(self, key: WayKey, scopes: Scopes, way: Way) -> None:
        if len(self._challenges) + len(self._scopes) >= _MOST:
            # Callers choose the names of repositories, so this could grow without a limit.
            self._challenges.clear()
            self._scopes.clear()
        until = self._now() + self._seconds
        self._challenges[key] = (until, way.challenge)
        if way.scopes != scopes:
            self._scopes[key, scopes] = (until, way.scopes)

    def forget(self, key: WayKey, scopes: Scopes) -> None:
        self._challenges.pop(key, None)
        self._scopes.pop((key, scopes), None)


def _asks_alike(one: Challenge, other: Challenge) -> bool:
    members = ("realm", "service")
    return one.scheme == other.scheme and all(
        one.parameters.get(name) == other.parameters.get(name) for name in members
    )
