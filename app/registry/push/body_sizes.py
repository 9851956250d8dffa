"""The sizes of request bodies in one transfer: known limits of the registry, and limits found on the way."""

from __future__ import annotations

import sys
from typing import NamedTuple

from app.registry.capabilities import RepositoryCapabilities
from app.registry.limits import Limits

__all__ = ["Body", "BodySizes"]

_TOO_LARGE, _WRONG_RANGE = 413, 416
_LEAST_CHUNK = 256


class Body(NamedTuple):
    """A request body: a whole blob by PUT, or a chunk by PATCH."""

    method: str
    size: int


class BodySizes:
    """Limits that it finds count for this transfer alone until the transfer succeeds with them.

    A refusal may be about a repository, a quota, or nothing at all, and must not slow down other
    transfers.
    """

    def __init__(self, capabilities: RepositoryCapabilities, limits: Limits) -> None:
        self._capabilities = capabilities
        self._limits = limits
        self._learnt: dict[str, int] = {}
        self._was_wrong_range = False

    def largest(self, method: str) -> int:
        known = self._capabilities.largest_body(method)
        return min(sys.maxsize if known is None else known, self._learnt.get(method, sys.maxsize))

    @property
    def chunk(self) -> int:
        return min(self.largest("PUT"), self.largest("PATCH"))

    def shrink(self, status: int, body: Body, least: int) -> bool:
        """Whether the refusal means that the body was too large and a smaller one may be sent."""
        return self._is_too_large(status, body) and self.record_too_large(body, least)

    def record_too_large(self, body: Body, least: int) -> bool:
        """False if no smaller body may be sent; `least` is the smallest chunk that the registry accepts."""
        least = max(_LEAST_CHUNK, least)
        smaller = max(min(self._limits.chunk_bytes, body.size // 2), least)
        if smaller >= body.size:
            return False
        self._learn(body.method, smaller)
        return True

    def record_kept(self, size: int) -> None:
        """Send little more per chunk than the registry keeps."""
        self._learn("PATCH", max(size, self._limits.resume_bytes))

    def record_success(self) -> None:
        """Remember the limits after success, so that later transfers start with them."""
        for method, size in self._learnt.items():
            least = self._limits.least_remembered_body
            self._capabilities.record_largest_body(method, max(size, least))

    def _learn(self, method: str, size: int) -> None:
        self._learnt[method] = min(size, self._learnt.get(method, size))

    def _is_too_large(self, status: int, body: Body) -> bool:
        if status != _WRONG_RANGE or body.method != "PUT" or body.size <= self._limits.chunk_bytes:
            return status == _TOO_LARGE
        # Registries that accept no whole blob of this size report its range as wrong. One such
        # answer may be chance.
        is_again, self._was_wrong_range = self._was_wrong_range, True
        return is_again
