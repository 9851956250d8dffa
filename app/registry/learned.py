"""What an answer is about: one account's access to one repository."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LearnedKey"]


@dataclass(frozen=True, slots=True)
class LearnedKey:
    """Every member is needed: one caller's answer, or one repository's, teaches nothing to others (T45)."""

    registry: str
    insecure: bool
    account: str
    path: str
