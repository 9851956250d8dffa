"""Filters for lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from app.lists.draft import ListState


@dataclass(frozen=True, slots=True)
class ListFilter:
    """A filter; None matches everything."""

    reference: str | None = None
    registry: str | None = None
    repository: str | None = None
    session: str | None = None
    state: ListState | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
