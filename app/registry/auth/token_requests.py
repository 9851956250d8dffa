"""The token requests that work for a repository, as learned from its 401s."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.registry.auth.challenge import Challenge
from app.registry.auth.scope import Scopes
from app.registry.learned import LearnedKey

__all__ = ["LearnedTokenRequests", "TokenRequest"]

_MOST = 4096


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A challenge to answer, and the scopes to ask for."""

    challenge: Challenge
    scopes: Scopes

    def is_same(self, other: TokenRequest) -> bool:
        return self.scopes == other.scopes and _asks_alike(self.challenge, other.challenge)


class LearnedTokenRequests:
    """Remembers for a limited time what differs from the challenge of `GET /v2/`.

    The challenge is remembered for a repository, the scopes for requests that need the same rights.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._challenges: dict[LearnedKey, tuple[float, Challenge]] = {}
        self._scopes: dict[tuple[LearnedKey, Scopes], tuple[float, Scopes]] = {}

    def find(self, key: LearnedKey, challenge: Challenge | None, scopes: Scopes) -> TokenRequest | None:
        """The token request to make; `challenge` and `scopes` apply if nothing was learned."""
        until, learnt = self._challenges.get(key, (0.0, None))
        challenge = learnt if learnt is not None and self._now() < until else challenge
        if challenge is None:
            return None
        until, asked = self._scopes.get((key, scopes), (0.0, scopes))
        return TokenRequest(challenge, asked if self._now() < until else scopes)

    def record(self, key: LearnedKey, scopes: Scopes, wanted: TokenRequest) -> None:
        if len(self._challenges) + len(self._scopes) >= _MOST:
            # Callers choose the names of repositories, so this could grow without a limit.
            self._challenges.clear()
            self._scopes.clear()
        until = self._now() + self._seconds
        self._challenges[key] = (until, wanted.challenge)
        if wanted.scopes != scopes:
            self._scopes[key, scopes] = (until, wanted.scopes)

    def forget(self, key: LearnedKey, scopes: Scopes) -> None:
        self._challenges.pop(key, None)
        self._scopes.pop((key, scopes), None)


def _asks_alike(one: Challenge, other: Challenge) -> bool:
    members = ("realm", "service")
    return one.scheme == other.scheme and all(
        one.parameters.get(name) == other.parameters.get(name) for name in members
    )
