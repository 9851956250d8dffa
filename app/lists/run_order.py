"""Decides which of two runs of one tag is newer; `services.pushes.guard` keeps the older one from the tag."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RunOrder:
    """The position of a push among those of a tag: by run number if both have one, otherwise by start.

    A list with a session starts when it is created, however late its run finishes. A list without a session
    is pushed by hand, so each of its pushes starts on its own.
    """

    began_at: datetime
    number: int | None = None

    def is_older_than(self, other: RunOrder) -> bool:
        if self.number is not None and other.number is not None and self.number != other.number:
            return self.number < other.number
        return self.began_at < other.began_at
