"""Which of two runs that push one tag is the newer one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RunOrder:
    """Where a push stands among those of a tag: by the CI's own count if both have one, else by beginning.

    A list with a session begins when it is created, since its run has begun by then, however late it
    finishes. One without is pushed by hand, and begins with each push.
    """

    began_at: datetime
    number: int | None = None

    def is_older_than(self, other: RunOrder) -> bool:
        if self.number is not None and other.number is not None and self.number != other.number:
            return self.number < other.number
        return self.began_at < other.began_at
