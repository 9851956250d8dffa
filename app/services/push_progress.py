"""How far a push is, over all its targets: for those who watch, and for the problem of one that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.oci.reference import Repository
from app.operations.progress import Progress, ProgressStep
from app.registry.copy import Step, StepName
from app.services.attempts import Attempt


class PushProgress:
    """Gathers the steps of each target and reports their sum."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._steps: dict[tuple[Repository, StepName], Step] = {}

    def of(self, repository: Repository) -> Callable[[Step], None]:
        def on_step(step: Step) -> None:
            self._steps[repository, step.name] = step
            self._attempt.progress(self._sum())

        return on_step

    def document(self) -> list[dict[str, Any]]:
        """What had been done at each target."""
        found: dict[Repository, dict[str, Any]] = {}
        for (repository, name), step in self._steps.items():
            target = found.setdefault(repository, {"repository": str(repository)})
            target[name.value] = {"done": step.done, "total": step.total}
        return list(found.values())

    def _sum(self) -> Progress:
        steps = {name: [step for (_, of), step in self._steps.items() if of is name] for name in StepName}
        blobs = steps[StepName.BLOBS]
        return Progress(
            steps=tuple(
                ProgressStep(name.value, sum(step.done for step in of), sum(step.total for step in of))
                for name, of in steps.items()
                if of
            ),
            bytes_done=sum(step.bytes_done for step in blobs),
            bytes_total=sum(step.bytes_total for step in blobs),
        )
