"""How far a push is, told at each change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Finished", "Step", "StepName", "Steps"]


class StepName(StrEnum):
    """The parts of a push, in the order in which they end."""

    BLOBS = "blobs"
    MANIFESTS = "manifests"
    REFERRERS = "referrers"
    TAGS = "tags"


@dataclass(frozen=True, slots=True)
class Finished:
    """One thing that is where it should be: a tag, or a manifest's digest, and how it came there."""

    name: str
    action: str


@dataclass(frozen=True, slots=True)
class Step:
    """How far one part of a push is; totals grow while children are still being looked up.

    Manifests and tags are named as they are finished; an index without a tag goes by its digest.
    """

    name: StepName
    done: int
    total: int
    bytes_done: int = 0
    bytes_total: int = 0
    finished: tuple[Finished, ...] = ()


@dataclass(slots=True)
class Steps:
    """Counts, and tells of each change."""

    tell: Callable[[Step], None]
    steps: dict[StepName, Step] = field(default_factory=dict)

    def add(
        self,
        name: StepName,
        *,
        done: int = 0,
        total: int = 0,
        bytes_done: int = 0,
        bytes_total: int = 0,
        finished: tuple[Finished, ...] = (),
    ) -> None:
        step = self.steps.get(name, Step(name, 0, 0))
        step = Step(
            name,
            step.done + done,
            step.total + total,
            step.bytes_done + bytes_done,
            step.bytes_total + bytes_total,
            step.finished + finished,
        )
        self.steps[name] = step
        self.tell(step)

    def finish(self, name: StepName, what: str, action: str) -> None:
        self.add(name, done=1, finished=(Finished(what, action),))
