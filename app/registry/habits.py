"""Remembers for a while what registries don't do, so that they are asked once and not each time."""

from __future__ import annotations

from collections.abc import Callable

from app.oci.reference import Repository

__all__ = ["Habits"]


class Habits:
    """By registry: whether it answers HEAD of a manifest and lists referrers; how large uploads may be."""

    def __init__(self, remembered_seconds: float, now: Callable[[], float]) -> None:
        self._seconds = remembered_seconds
        self._now = now
        self._without_head: dict[str, float] = {}
        self._largest: dict[tuple[str, str], tuple[float, int]] = {}
        self._without_referrers: dict[str, float] = {}

    def answers_head(self, registry: str) -> bool:
        return self._now() >= self._without_head.get(registry, 0.0)

    def note_without_head(self, registry: str) -> None:
        now = self._now()
        self._without_head = {name: until for name, until in self._without_head.items() if until > now}
        self._without_head[registry] = now + self._seconds

    def largest_body(self, registry: str, method: str) -> int | None:
        """What an upload's PUT or PATCH may hold there, None for any size."""
        until, size = self._largest.get((registry, method), (0.0, None))
        return size if self._now() < until else None

    def note_largest_body(self, registry: str, method: str, size: int) -> None:
        now = self._now()
        self._largest = {key: kept for key, kept in self._largest.items() if kept[0] > now}
        _, known = self._largest.get((registry, method), (0.0, size))
        self._largest[registry, method] = (now + self._seconds, min(size, known))

    def lists_referrers(self, repository: Repository) -> bool:
        known = (self._without_referrers.get(name, 0.0) for name in (repository.registry, str(repository)))
        return all(self._now() >= until for until in known)

    def note_without_referrers(self, name: str) -> None:
        """`name` is a registry's, or a repository's: a registry may pass some on to another that is older."""
        now = self._now()
        self._without_referrers = {
            name: until for name, until in self._without_referrers.items() if until > now
        }
        self._without_referrers[name] = now + self._seconds
