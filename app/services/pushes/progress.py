"""The progress of a push over all its targets, for callers that follow it and for its problem if it fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from app.lists.push_plan import PushPlan
from app.lists.push_result import BlobProgress, TargetReached
from app.lists.targets import PushTarget
from app.oci.digest import Digest
from app.oci.reference import Reference, Repository
from app.operations.progress import Progress, ProgressStep
from app.registry.push.model import ManifestAction, Step, StepName, TagAction


class ProgressSink(Protocol):
    """Takes progress, as an attempt does."""

    def progress(self, progress: Progress) -> None: ...


class PushProgress:
    """Gathers the steps of each target and reports their sum.

    `earlier` is the progress of the previous attempt; its finished steps stay finished.
    """

    def __init__(self, attempt: ProgressSink, plan: PushPlan, earlier: Sequence[TargetReached] = ()) -> None:
        self._attempt = attempt
        self._plan = plan
        self._earlier = {each.repository: each for each in earlier}
        self._steps: dict[tuple[Repository, StepName], Step] = {}

    def report(self, repository: Repository, step: Step) -> None:
        self._steps[repository, step.name] = step
        self._attempt.progress(self._sum())

    @property
    def reached(self) -> tuple[TargetReached, ...]:
        """The progress at each target."""
        return tuple(
            TargetReached(target.repository, self._blobs(target), self._manifests(target), self._tags(target))
            for target in self._plan.targets
        )

    def _blobs(self, target: PushTarget) -> BlobProgress:
        step = self._steps.get((target.repository, StepName.BLOBS))
        if step is not None:
            return BlobProgress(step.done, step.total)
        earlier = self._earlier.get(target.repository)
        return earlier.blobs if earlier is not None else BlobProgress()

    def _manifests(self, target: PushTarget) -> dict[Digest, ManifestAction | None]:
        earlier = self._earlier.get(target.repository)
        finished = self._finished(target, StepName.MANIFESTS)
        return {
            child.digest: (earlier.manifests.get(child.digest) if earlier is not None else None)
            or (ManifestAction(finished[str(child.digest)]) if str(child.digest) in finished else None)
            for child in self._plan.children
        }

    def _tags(self, target: PushTarget) -> dict[Reference, TagAction]:
        earlier = self._earlier.get(target.repository)
        before = earlier.tags if earlier is not None else {}
        finished = self._finished(target, StepName.TAGS)
        return {
            reference: _furthest(
                before.get(reference, TagAction.LEFT),
                TagAction(finished.get(reference.target, TagAction.LEFT)),
            )
            for reference in target.references(self._plan.index.digest)
        }

    def _finished(self, target: PushTarget, name: StepName) -> dict[str, str]:
        step = self._steps.get((target.repository, name))
        return {each.name: each.action for each in step.finished} if step is not None else {}

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


def _furthest(*actions: TagAction) -> TagAction:
    order = (TagAction.LEFT, TagAction.MOVED_UNVERIFIED, TagAction.MOVED)
    return max(actions, key=order.index)
