"""Remembers what each registry supports, so that the client does not ask each time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum, auto
from typing import Generic, TypeVar

from app.oci.reference import Repository

__all__ = ["Capabilities", "MountSupport"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


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
        self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > now}
        self._kept[key] = (now + self._seconds, value)

    def drop(self, key: K) -> None:
        self._kept.pop(key, None)


class Capabilities:
    """The capabilities of registries; a registry supports everything until it shows otherwise.

    After `seconds` the client tries again.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._without_head: _Memory[str, bool] = _Memory(seconds, now)
        self._without_referrers: _Memory[str, bool] = _Memory(seconds, now)
        self._largest_body: _Memory[tuple[str, str], int] = _Memory(seconds, now)
        self._mounts: _Memory[tuple[str, ...], MountSupport] = _Memory(seconds, now)

    def supports_head(self, registry: str) -> bool:
        """Whether HEAD of a manifest is worth a request."""
        return not self._without_head.get(registry)

    def record_no_head(self, registry: str) -> None:
        self._without_head.keep(registry, value=True)

    def supports_referrers(self, repository: Repository) -> bool:
        """Whether the referrers API is worth a request."""
        return not any(self._without_referrers.get(name) for name in (repository.registry, str(repository)))

    def record_no_referrers(self, name: str) -> None:
        """`name` is a registry's or a repository's: a registry may forward some repositories elsewhere."""
        self._without_referrers.keep(name, value=True)

    def largest_body(self, registry: str, method: str) -> int | None:
        """The size limit of an upload's PUT or PATCH; None where none is known."""
        return self._largest_body.get((registry, method))

    def record_largest_body(self, registry: str, method: str, size: int) -> None:
        known = self._largest_body.get((registry, method))
        self._largest_body.keep((registry, method), size if known is None else min(size, known))

    def mount_support(self, registry: str, source: str, target: str) -> MountSupport:
        """The expected answer to a mount from one repository to another."""
        # The record of a pair is always a refusal, so it overrides the record of the registry.
        known = self._mounts.get((registry, source, target)) or self._mounts.get((registry,))
        return known or MountSupport.GRANTED

    def record_mount(
        self, support: MountSupport, registry: str, source: str, target: str, *, only_this_pair: bool = False
    ) -> None:
        """Remember the answer to a mount; `only_this_pair` limits it to these two repositories.

        A failure counts for the pair alone: it does not show how the registry answers for others.
        """
        if support is MountSupport.GRANTED:
            self._mounts.drop((registry,))
            self._mounts.drop((registry, source, target))
        else:
            self._mounts.keep((registry, source, target) if only_this_pair else (registry,), support)
