"""What a list amounts to: its index, what it lacks, and where a push would put it."""

from __future__ import annotations

from app.errors import ListNotPushable
from app.lists.assessment import assess, build_draft_index
from app.lists.draft import Draft
from app.lists.findings.finding import Severity
from app.lists.findings.list_findings import find_findings
from app.oci.manifest import Manifest
from app.oci.platform import Platform
from app.oci.reference import parse_reference
from tests.lists.builders import draft, entry


class CountedBuilder:
    """Builds indexes, and counts how many."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, of: Draft) -> Manifest:
        self.count += 1
        return build_draft_index(of)


def test_one_assessment_builds_the_index_once() -> None:
    build = CountedBuilder()
    assessment = assess(draft(entries=[entry("r.test/a:1")]), build=build)
    assert assessment.index is not None
    assert assessment.references
    assert build.count == 1


def test_a_list_that_can_not_be_pushed_has_no_index_and_says_why() -> None:
    build = CountedBuilder()
    lacking = entry("r.test/a:1", Platform())
    assessment = assess(draft(entries=[lacking]), build=build)
    assert build.count == 0
    assert assessment.index is None
    assert isinstance(assessment.refusal, ListNotPushable)
    assert [error.pointer for error in assessment.refusal.errors] == ["/entries/0"]
    assert assessment.references == frozenset()


def test_the_references_are_those_of_the_list_its_tags_and_its_targets() -> None:
    listed = draft("r.test/app:1", [entry("r.test/a:1")], tags=["latest"], targets=["other.test/app:2"])
    assert assess(listed).references == {
        parse_reference(name) for name in ("r.test/app:1", "r.test/app:latest", "other.test/app:2")
    }


def test_a_list_is_complete_when_every_expected_platform_is_there() -> None:
    amd64, arm64 = entry("r.test/a:1"), entry("r.test/b:1", Platform("linux", "arm64", "v8"))
    expected = ["linux/amd64", "linux/arm64"]
    partial = draft(entries=[amd64], expected_platforms=expected)
    assert [str(each) for each in assess(partial).missing_platforms] == ["linux/arm64"]
    assert not assess(partial).is_complete
    assert assess(draft(entries=[amd64, arm64], expected_platforms=expected)).is_complete


def test_a_list_without_entries_is_never_complete() -> None:
    assert not assess(draft()).is_complete


def test_a_plan_of_a_list_that_lacks_a_platform_warns_of_it() -> None:
    lacking = draft(entries=[entry("r.test/a:1")], expected_platforms=["linux/amd64", "linux/arm64/v8"])
    assert find_findings(lacking) == ()
    (finding,) = assess(lacking).plan_findings
    assert (finding.code, finding.severity) == ("missing-platforms", Severity.WARNING)
    assert "linux/arm64/v8" in finding.detail
    assert assess(draft(entries=[entry("r.test/a:1")])).plan_findings == ()
