"""How far an operation has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ProgressStep:
    """One part of the work, such as the blobs of a push: how many there are and how many are done."""

    name: str
    done: int = 0
    total: int = 0

    def document(self) -> dict[str, Any]:
        return {"name": self.name, "done": self.done, "total": self.total}


@dataclass(frozen=True, slots=True)
class Progress:
    steps: tuple[ProgressStep, ...] = ()
    bytes_done: int = 0
    bytes_total: int = 0

    def document(self) -> dict[str, Any]:
        return {
            "steps": [step.document() for step in self.steps],
            "bytes_done": self.bytes_done,
            "bytes_total": self.bytes_total,
        }
