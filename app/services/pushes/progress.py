"""How far a push is, over all its targets: for those who watch, and for the problem of one that fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.lists.push_plan import PushPlan
from app.lists.targets import PushTarget
from app.oci.reference import Repository
from app.operations.progress import Progress, ProgressStep
from app.registry.push.model import ManifestAction, Step, StepName, TagAction
from app.services.operations.attempts import Attempt

LEFT = TagAction.LEFT.value


class PushProgress:
    """Gathers the steps of each target and reports their sum.

    `earlier` is the document of the attempt before: what that one finished stays finished.
    """

    def __init__(self, attempt: Attempt, plan: PushPlan, earlier: Sequence[Mapping[str, Any]] = ()) -> None:
        self._attempt = attempt
        self._plan = plan
        self._earlier = {each["repository"]: each for each in earlier}
        self._steps: dict[tuple[Repository, StepName], Step] = {}

    def tell(self, repository: Repository, step: Step) -> None:
        self._steps[repository, step.name] = step
        self._attempt.progress(self._sum())

    def document(self) -> list[dict[str, Any]]:
        """What is where at each target, and what is not there yet."""
        children = dict.fromkeys(str(child.digest) for child in self._plan.children)
        return [
            {
                "repository": str(target.repository),
                "blobs": self._blobs(target),
                "manifests": self._sort(target, StepName.MANIFESTS, children, ManifestAction),
                "tags": self._sort(
                    target, StepName.TAGS, target.tags or [str(self._plan.index.digest)], TagAction
                ),
            }
            for target in self._plan.targets
        ]

    def _blobs(self, target: PushTarget) -> dict[str, int]:
        step = self._steps.get((target.repository, StepName.BLOBS))
        if step is None:
            return dict(self._known(target, StepName.BLOBS) or {"done": 0, "total": 0})
        return {"done": step.done, "total": step.total}

    def _sort(
        self, target: PushTarget, name: StepName, wanted: Iterable[str], actions: Iterable[str]
    ) -> dict[str, list[str]]:
        """The names of what was wanted, by what became of each."""
        step = self._steps.get((target.repository, name))
        became = {each.name: each.action for each in step.finished} if step else {}
        for action, names in self._known(target, name).items():
            became |= dict.fromkeys(names, action) if action != LEFT else {}
        sorted_out: dict[str, list[str]] = {action: [] for action in (*actions, LEFT)}
        for each in wanted:
            sorted_out[became.get(each, LEFT)].append(each)
        return sorted_out

    def _known(self, target: PushTarget, name: StepName) -> Mapping[str, Any]:
        known: Mapping[str, Any] = self._earlier.get(str(target.repository), {}).get(name.value, {})
        return known

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
