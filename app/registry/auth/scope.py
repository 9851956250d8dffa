"""Token scopes, built from what a request needs and never taken from a challenge."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Scopes", "in_order", "mounting", "pulling", "pushing"]

Scopes = frozenset[str]


def pulling(*repositories: str) -> Scopes:
    return frozenset(f"repository:{path}:pull" for path in repositories)


def pushing(repository: str) -> Scopes:
    return frozenset({f"repository:{repository}:pull,push"})


def mounting(target: str, source: str) -> Scopes:
    """Both rights in one token: a mount reads the source and writes the target."""
    return pushing(target) | pulling(source)


def in_order(scopes: Iterable[str]) -> list[str]:
    """Push scopes first, since some token services read only the first scope; otherwise by name."""
    return sorted(scopes, key=lambda scope: (not scope.endswith("push"), scope))
