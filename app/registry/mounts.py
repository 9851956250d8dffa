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
        self._standings: dict[str, tuple[float, Standing]] = {}

    def of(self, registry: str) -> Standing:
        until, standing = self._standings.get(registry, (0.0, Standing.MOUNTS))
        return standing if self._now() < until else Standing.MOUNTS

    def note(self, registry: str, standing: Standing) -> None:
        self._standings.pop(registry, None)
        if standing is not Standing.MOUNTS:
            self._standings[registry] = (self._now() + self._seconds, standing)
