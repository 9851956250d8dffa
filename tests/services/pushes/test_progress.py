"""The progress of a push: an attempt continues after the finished steps of the previous one."""

from __future__ import annotations

import pytest

from app.lists.assessment import assess
from app.lists.push_plan import PushPlan, plan_push
from app.lists.push_result import BlobProgress, TargetReached
from app.oci.copy_outcomes import ManifestAction, TagAction
from app.oci.digest import digest_of
from app.oci.reference import parse_reference
from app.operations.progress import Progress
from app.registry.push.model import Finished, Step, StepName
from app.services.pushes.progress import PushProgress
from tests.lists.builders import NOW, draft, entry

OWN, LATEST = parse_reference("r.test/app:1"), parse_reference("r.test/app:latest")
REPOSITORY = OWN.repository
AMD64 = digest_of(b"r.test/app:amd64")


class Reported:
    """Stands in for the attempt, and keeps the last report."""

    def __init__(self) -> None:
        self.last: Progress | None = None

    def progress(self, progress: Progress) -> None:
        self.last = progress


def plan() -> PushPlan:
    listed = draft("r.test/app:1", [entry("r.test/app:amd64")], tags=["latest"])
    return plan_push(listed, assess(listed), NOW)


def test_before_the_first_step_nothing_is_there() -> None:
    (reached,) = PushProgress(Reported(), plan()).reached
    assert reached == TargetReached(
        REPOSITORY, BlobProgress(), {AMD64: None}, {OWN: TagAction.LEFT, LATEST: TagAction.LEFT}
    )


def test_finished_steps_are_reached_and_reported() -> None:
    reported = Reported()
    progress = PushProgress(reported, plan())
    progress.report(REPOSITORY, Step(StepName.BLOBS, 1, 3, bytes_done=10, bytes_total=30))
    progress.report(REPOSITORY, Step(StepName.MANIFESTS, 1, 1, finished=(Finished(str(AMD64), "put"),)))
    progress.report(REPOSITORY, Step(StepName.TAGS, 1, 2, finished=(Finished("1", "moved"),)))
    (reached,) = progress.reached
    assert reached.blobs == BlobProgress(1, 3)
    assert reached.manifests == {AMD64: ManifestAction.PUT}
    assert reached.tags == {OWN: TagAction.MOVED, LATEST: TagAction.LEFT}
    assert reported.last is not None
    assert (reported.last.bytes_done, reported.last.bytes_total) == (10, 30)


@pytest.mark.parametrize(
    ("before", "now", "reached"),
    [
        ("moved-unverified", None, "moved-unverified"),
        ("moved-unverified", "moved", "moved"),
        ("moved", "moved-unverified", "moved"),
        ("left", "moved-unverified", "moved-unverified"),
    ],
)
def test_a_tag_that_has_moved_counts_as_moved_in_later_attempts(
    before: str, now: str | None, reached: str
) -> None:
    earlier = TargetReached(REPOSITORY, BlobProgress(), {}, {OWN: TagAction(before)})
    progress = PushProgress(Reported(), plan(), (earlier,))
    finished = (Finished("1", now),) if now else ()
    progress.report(REPOSITORY, Step(StepName.TAGS, 1, 2, finished=finished))
    assert progress.reached[0].tags[OWN] is TagAction(reached)


def test_what_an_earlier_attempt_finished_stays_finished() -> None:
    earlier = TargetReached(
        REPOSITORY,
        BlobProgress(3, 3),
        {AMD64: ManifestAction.PUT},
        {OWN: TagAction.MOVED, LATEST: TagAction.LEFT},
    )
    progress = PushProgress(Reported(), plan(), [earlier])
    assert progress.reached == (earlier,)
    progress.report(REPOSITORY, Step(StepName.MANIFESTS, 1, 1, finished=(Finished(str(AMD64), "present"),)))
    progress.report(REPOSITORY, Step(StepName.TAGS, 2, 2, finished=(Finished("latest", "moved"),)))
    (reached,) = progress.reached
    assert reached.manifests == {AMD64: ManifestAction.PUT}
    assert reached.tags == {OWN: TagAction.MOVED, LATEST: TagAction.MOVED}
