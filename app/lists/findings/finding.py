"""One finding about a list."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Severity(StrEnum):
    """An `error` prevents a push of the list; a `warning` does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """A property of a list that its owner should know."""

    code: str
    severity: Severity
    detail: str
    entry_id: UUID | None = None
