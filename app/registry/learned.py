"""The key for cached observations: one account's access to one repository."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LearnedKey"]


@dataclass(frozen=True, slots=True)
class LearnedKey:
    """Every member is needed: observations must not affect other callers or other repositories (T45)."""

    registry: str
    insecure: bool
    account: str
    path: str
