"""Remembers for a while which registries mount blobs of other repositories and which don't."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

__all__ = ["MountMemory", "Standing"]


class Standing(Enum):
    """What a registry did with the last mount."""

    MOUNTS = auto()
    DECLINES = auto()
    """It opened an upload instead, as the spec allows: asking again costs nothing."""
    REFUSES = auto()


class MountMemory:
    """A registry is believed to mount until it shows otherwise, and again after a time."""

    def __init__(self, remembered_seconds: float, now: Callable[[], float]) -> None:
        self._seconds = remembered_seconds
        self._now = now
        self._standings: dict[tuple[str, ...], tuple[float, Standing]] = {}

    def of(self, registry: str, source: str, target: str) -> Standing:
        """What to expect of a mount from one repository of a registry to another."""
        # Of two repositories it is never better than refusal that is kept: it goes before what others got.
        for key in ((registry, source, target), (registry,)):
            until, standing = self._standings.get(key, (0.0, Standing.MOUNTS))
            if self._now() < until:
                return standing
        return Standing.MOUNTS

    def note(
        self, standing: Standing, registry: str, source: str, target: str, *, only_these: bool = False
    ) -> None:
        """Keeps what a mount came to; `only_these` says it of the two repositories alone.

        Mere trouble is a refusal to these: it says nothing of what the registry would do for others.
        """
        now = self._now()
        self._standings = {key: kept for key, kept in self._standings.items() if kept[0] > now}
        if standing is Standing.MOUNTS:
            self._standings.pop((registry,), None)
            self._standings.pop((registry, source, target), None)
            return
        key = (registry, source, target) if only_these else (registry,)
        self._standings[key] = (now + self._seconds, standing)
