"""Remembers the features that a registry supports, so that the client does not probe for them each time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum, auto
from typing import Generic, TypeVar

from app.registry.learned import LearnedKey

__all__ = ["Capabilities", "MountSupport", "RepositoryCapabilities"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_MOST = 4096


class MountSupport(Enum):
    """How a registry answered the last request to mount a blob."""

    GRANTED = auto()
    DECLINED = auto()
    """It opened an upload instead, as the spec allows; asking again costs nothing."""
    REFUSED = auto()


class _Memory(Generic[K, V]):
    """Values that expire."""

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._kept: dict[K, tuple[float, V]] = {}

    def get(self, key: K) -> V | None:
        until, value = self._kept.get(key, (0.0, None))
        return value if self._now() < until else None

    def keep(self, key: K, value: V) -> None:
        now = self._now()
        if len(self._kept) >= _MOST:
            # Callers choose the names of repositories, so the cache needs a bound.
            self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > now}
        if len(self._kept) >= _MOST:
            self._kept.clear()
        self._kept[key] = (now + self._seconds, value)

    def drop(self, key: K) -> None:
        self._kept.pop(key, None)


class Capabilities:
    """The capabilities of registries. A registry is assumed to support everything until a response differs.

    The client keeps each result for the account and repository of the request only. A server that answers for
    one repository, such as a proxy that a tenant controls, thus has no effect on others. After `seconds` the
    client tries again.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self.without_head: _Memory[LearnedKey, bool] = _Memory(seconds, now)
        self.without_referrers: _Memory[LearnedKey, bool] = _Memory(seconds, now)
        self.largest_body: _Memory[tuple[LearnedKey, str], int] = _Memory(seconds, now)
        self.mounts: _Memory[tuple[LearnedKey, str | None], MountSupport] = _Memory(seconds, now)

    def of(self, key: LearnedKey) -> RepositoryCapabilities:
        return RepositoryCapabilities(self, key)


class RepositoryCapabilities:
    """The capabilities that one account has observed at one repository."""

    def __init__(self, memory: Capabilities, key: LearnedKey) -> None:
        self._memory = memory
        self._key = key

    @property
    def support_head(self) -> bool:
        """Whether HEAD of a manifest is worth a request."""
        return not self._memory.without_head.get(self._key)

    def record_no_head(self) -> None:
        self._memory.without_head.keep(self._key, value=True)

    @property
    def support_referrers(self) -> bool:
        """Whether the referrers API is worth a request."""
        return not self._memory.without_referrers.get(self._key)

    def record_no_referrers(self) -> None:
        self._memory.without_referrers.keep(self._key, value=True)

    def largest_body(self, method: str) -> int | None:
        """The size limit of an upload's PUT or PATCH; None where none is known."""
        return self._memory.largest_body.get((self._key, method))

    def record_largest_body(self, method: str, size: int) -> None:
        known = self.largest_body(method)
        self._memory.largest_body.keep((self._key, method), size if known is None else min(size, known))

    def mount_support(self, source: str) -> MountSupport:
        """The expected response to a mount from another repository to this one."""
        mounts = self._memory.mounts
        # The record of a source is always a refusal, so it overrides the record for all sources.
        return mounts.get((self._key, source)) or mounts.get((self._key, None)) or MountSupport.GRANTED

    def record_mount(self, support: MountSupport, source: str, *, only_this_source: bool = False) -> None:
        """Remember the response to a mount.

        A failure counts for its source alone, because the registry may accept mounts from other sources.
        """
        if support is MountSupport.GRANTED:
            self._memory.mounts.drop((self._key, None))
            self._memory.mounts.drop((self._key, source))
        else:
            self._memory.mounts.keep((self._key, source if only_this_source else None), support)
