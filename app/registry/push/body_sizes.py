"""How much one transfer sends at a time: what is known of its registry, and what it finds out by itself."""

from __future__ import annotations

import sys
from typing import NamedTuple

from app.registry.repository import RemoteRepository

__all__ = ["Body", "BodySizes"]

_TOO_LARGE, _WRONG_RANGE = 413, 416
_LEAST_CHUNK = 256


class Body(NamedTuple):
    """What was sent: a whole blob by PUT, or a chunk by PATCH."""

    method: str
    size: int


class BodySizes:
    """What it learns is for this transfer alone, until that has come to its end by it.

    A refusal may be meant for a repository, a quota, or nobody at all: it must not slow down others.
    """

    def __init__(self, target: RemoteRepository) -> None:
        self._registry = target.registry
        self._capabilities = target.state.capabilities
        self._limits = target.state.limits
        self._learnt: dict[str, int] = {}
        self._was_wrong_range = False

    def largest(self, method: str) -> int:
        known = self._capabilities.largest_body(self._registry, method)
        return min(sys.maxsize if known is None else known, self._learnt.get(method, sys.maxsize))

    @property
    def chunk(self) -> int:
        return min(self.largest("PUT"), self.largest("PATCH"))

    def shrink(self, status: int, body: Body, least: int) -> bool:
        """Whether a refusal says that the body was too large, and less may be sent."""
        return self._is_too_large(status, body) and self.note_too_large(body, least)

    def note_too_large(self, body: Body, least: int) -> bool:
        """False where nothing smaller may be sent; `least` is what the registry wants at least."""
        least = max(_LEAST_CHUNK, least)
        smaller = max(min(self._limits.chunk_bytes, body.size // 2), least)
        if smaller >= body.size:
            return False
        self._learn(body.method, smaller)
        return True

    def note_kept(self, size: int) -> None:
        """A registry that keeps so much of what it is sent is sent little more."""
        self._learn("PATCH", max(size, self._limits.resume_bytes))

    def note_end(self) -> None:
        """The blob is there: where less was taken than had been refused, others may begin with that."""
        for method, size in self._learnt.items():
            least = self._limits.least_remembered_body
            self._capabilities.record_largest_body(self._registry, method, max(size, least))

    def _learn(self, method: str, size: int) -> None:
        self._learnt[method] = min(size, self._learnt.get(method, size))

    def _is_too_large(self, status: int, body: Body) -> bool:
        if status != _WRONG_RANGE or body.method != "PUT" or body.size <= self._limits.chunk_bytes:
            return status == _TOO_LARGE
        # Registries that take no whole blob of this size say so of its range. Once may be chance.
        is_again, self._was_wrong_range = self._was_wrong_range, True
        return is_again
