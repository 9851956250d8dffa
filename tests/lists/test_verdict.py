"""The verdict on a list: it is awaited, has failed, or is due to be pushed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BuildFailed, InvalidInput, ListIncomplete, ListNotPushable, MixedRevisions
from app.lists.assessment import assess
from app.lists.draft import Draft, ImageFacts, ListState
from app.lists.findings.list_findings import find_findings, refuse_mixed_revisions
from app.lists.options import amend_options, apply_changes, forget_failures
from app.lists.verdict import Verdict, awaited_platforms, judge, retract
from app.oci.platform import Platform, parse_platform
from tests.lists.builders import NOW, draft, entry, from_index

EARLIER, LATER = (NOW - timedelta(seconds=1)).isoformat(), (NOW + timedelta(seconds=1)).isoformat()
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/s390x")


def listed(*platforms: str, **options: Any) -> Draft:
    entries = [entry(f"r.test/{each.replace('/', '-')}:1", parse_platform(each)) for each in platforms]
    return draft(entries=entries, expected_platforms=list(PLATFORMS[:2]), **options)


def judged(after: Draft, before: Draft | None = None) -> Verdict:
    return judge(before or replace(after, revision=0, entries=()), after, assess(after), NOW)


def test_a_list_that_becomes_complete_is_pushed_once() -> None:
    before = listed("linux/amd64", push_when_complete=True)
    after = replace(listed(*PLATFORMS[:2], push_when_complete=True), id=before.id)
    assert judged(after, before) == Verdict(ListState.OPEN, is_push_due=True)
    pushed = replace(after, state=ListState.PUSHED, push_operation_id=before.id)
    assert judged(pushed, pushed) == Verdict(ListState.PUSHED)


def test_a_complete_list_without_push_when_complete_is_not_pushed() -> None:
    assert judged(listed(*PLATFORMS[:2])) == Verdict(ListState.OPEN)


def test_a_late_list_fails_and_names_the_missing_platforms() -> None:
    verdict = judged(listed("linux/amd64", complete_by=EARLIER))
    assert verdict.state is ListState.FAILED
    assert isinstance(verdict.failure, ListIncomplete)
    assert verdict.failure.members["missing_platforms"] == ["linux/arm64"]


def test_a_complete_list_does_not_fail_after_its_deadline() -> None:
    late = listed(*PLATFORMS[:2], complete_by=EARLIER, push_when_complete=True)
    assert judged(late).is_push_due


def test_a_list_before_its_deadline_is_awaited() -> None:
    assert judged(listed("linux/amd64", complete_by=LATER)) == Verdict(ListState.OPEN)


def test_a_failed_build_fails_the_list_immediately_with_the_reason() -> None:
    verdict = judged(listed("linux/amd64", failures={"linux/arm64": "exit code 1"}))
    assert isinstance(verdict.failure, BuildFailed)
    assert "linux/arm64: exit code 1" in verdict.failure.detail


def test_a_failed_build_fails_even_a_complete_list() -> None:
    after = listed(*PLATFORMS[:2], failures={"linux/arm64": ""}, push_when_complete=True)
    assert not judged(after).is_push_due
    assert isinstance(judged(after).failure, BuildFailed)


def test_a_partial_list_is_due_once_it_awaits_no_platform() -> None:
    options: dict[str, Any] = {"allow_partial": True, "push_when_complete": True}
    assert judged(listed("linux/amd64", **options)) == Verdict(ListState.OPEN)
    assert judged(listed("linux/amd64", failures={"linux/arm64": ""}, **options)).is_push_due
    assert judged(listed("linux/amd64", complete_by=EARLIER, **options)).is_push_due


def test_even_a_partial_list_fails_without_entries() -> None:
    failures = dict.fromkeys(PLATFORMS[:2], "no")
    assert isinstance(judged(listed(allow_partial=True, failures=failures)).failure, BuildFailed)
    assert isinstance(judged(listed(allow_partial=True, complete_by=EARLIER)).failure, ListIncomplete)
    waiting = listed(allow_partial=True, failures={"linux/arm64": "no"})
    assert judged(waiting) == Verdict(ListState.OPEN)


def test_a_complete_list_that_can_not_be_pushed_fails() -> None:
    nameless = entry("r.test/x:1", Platform())
    after = listed(*PLATFORMS[:2], push_when_complete=True)
    after = replace(after, entries=(*after.entries, nameless))
    assert isinstance(judged(after).failure, ListNotPushable)


def test_any_change_of_a_failed_list_is_judged_again() -> None:
    before = listed(*PLATFORMS[:2], push_when_complete=True)
    before = replace(before, state=ListState.FAILED, push_operation_id=before.id, problem={"code": "x"})
    assert judged(before, before) == Verdict(ListState.OPEN, is_push_due=True)


def test_failures_accept_any_spelling_of_a_platform() -> None:
    after = listed("linux/amd64", failures={"linux/aarch64": "no"})
    assert list(after.options.failures) == ["linux/arm64"]
    assert awaited_platforms(after, NOW) == ()
    with_variant = listed("linux/amd64", failures={"linux/arm64/v8": "no"})
    assert awaited_platforms(with_variant, NOW) == ()


def test_an_image_for_a_failed_build_clears_the_failure() -> None:
    options = apply_changes(listed().options, {"failures": {"linux/arm64": "no", "linux/amd64": "no"}})
    come = [parse_platform("linux/arm64/v8")]
    kept = forget_failures(options, built=come, present=come)
    assert list(kept.failures) == ["linux/amd64"]
    assert apply_changes(options, {"failures": {"linux/arm64": None}}).failures == {"linux/amd64": "no"}


def test_a_build_that_fails_after_adding_its_image_removes_it() -> None:
    present = listed(*PLATFORMS[:2])
    rest = retract(present, {"linux/arm64": "tests failed", "linux/amd64": None})
    assert [str(each.platform) for each in rest.entries] == ["linux/amd64"]
    assert retract(present, None) is present


def test_the_first_legs_deadline_applies_until_it_has_passed() -> None:
    first = amend_options(listed().options, {"complete_by": LATER}, NOW)
    hour = NOW + timedelta(hours=1)
    assert amend_options(first, {"complete_by": hour.isoformat()}, NOW).complete_by == first.complete_by
    afterwards = NOW + timedelta(seconds=2)
    assert amend_options(first, {"complete_by": hour.isoformat()}, afterwards).complete_by == hour


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    present = draw(st.sets(st.sampled_from(PLATFORMS)))
    failed = draw(st.dictionaries(st.sampled_from(PLATFORMS[:2]), st.sampled_from(["", "no"])))
    deadline = draw(st.sampled_from([None, EARLIER, LATER]))
    options = {name: draw(st.booleans()) for name in ("allow_partial", "push_when_complete")}
    return listed(*sorted(present), failures=failed, complete_by=deadline, **options)


@given(drafts())
def test_a_push_is_due_only_if_the_list_awaits_no_platform(after: Draft) -> None:
    verdict = judged(after)
    assert (verdict.state is ListState.FAILED) == (verdict.failure is not None)
    if verdict.is_push_due:
        assert after.options.push_when_complete
        assert after.entries
        assert not awaited_platforms(after, NOW)
        assert after.options.allow_partial or not after.options.failures
        missing = set(PLATFORMS[:2]) - {str(each.platform) for each in after.entries}
        assert after.options.allow_partial or not missing


@given(drafts())
def test_a_list_that_awaits_no_platform_is_pushed_or_fails(after: Draft) -> None:
    verdict = judged(after)
    over = not awaited_platforms(after, NOW)
    if over and after.options.push_when_complete:
        assert verdict.is_push_due or verdict.failure is not None


def built_from(*revisions: str | None, **options: Any) -> Draft:
    entries = [
        replace(
            entry(f"r.test/app:{place}", parse_platform(PLATFORMS[place])), image=ImageFacts(revision=each)
        )
        for place, each in enumerate(revisions)
    ]
    return draft(entries=entries, **options)


def test_images_of_several_revisions_are_a_finding() -> None:
    (finding,) = find_findings(built_from("aaa", "bbb"))
    assert (finding.code, finding.severity) == ("mixed-revisions", "warning")
    assert "r.test/app:0 from aaa, r.test/app:1 from bbb" in finding.detail
    assert find_findings(built_from("aaa", "aaa")) == ()
    assert find_findings(built_from(None, None)) == ()


@pytest.mark.parametrize("second", ["bbb", None])
def test_a_list_with_same_revision_refuses_images_of_another(second: str | None) -> None:
    mixed = built_from("aaa", second, same_revision=True)
    with pytest.raises(MixedRevisions) as refused:
        refuse_mixed_revisions(mixed)
    assert refused.value.members["revisions"] == {"r.test/app:0": "aaa", "r.test/app:1": second}
    assert find_findings(mixed)[0].severity == "error"
    refuse_mixed_revisions(built_from("aaa", "aaa", same_revision=True))


def test_a_failure_of_an_unexpected_platform_is_refused() -> None:
    with pytest.raises(InvalidInput, match="does not expect linux/s390x") as refused:
        listed("linux/amd64", failures={"linux/s390x": "no"})
    assert refused.value.errors[0].pointer == "/failures/linux~1s390x"
    assert apply_changes(listed().options, {"failures": {"linux/s390x": None}}).failures == {}
    failed = listed("linux/amd64", failures={"linux/arm64": "no"}).options
    assert apply_changes(failed, {"expected_platforms": ["linux/amd64"]}).failures == {}


def of_levels(*platforms: str, **options: Any) -> Draft:
    entries = [entry(f"r.test/{each.replace('/', '-')}:1", parse_platform(each)) for each in platforms]
    return draft(entries=entries, expected_platforms=["linux/amd64", "linux/amd64/v3"], **options)


def test_a_list_that_lacks_one_of_two_levels_is_not_pushed_by_itself() -> None:
    assert judged(of_levels("linux/amd64/v3", push_when_complete=True)) == Verdict(ListState.OPEN)
    assert judged(of_levels("linux/amd64/v3", "linux/amd64", push_when_complete=True)).is_push_due
    late = judged(of_levels("linux/amd64/v3", complete_by=EARLIER))
    assert isinstance(late.failure, ListIncomplete)
    assert late.failure.members["missing_platforms"] == ["linux/amd64"]


def test_a_failed_build_of_one_level_leaves_the_other_awaited_and_in_the_list() -> None:
    partial: dict[str, Any] = {"allow_partial": True, "push_when_complete": True}
    for failed, other in (("linux/amd64", "linux/amd64/v3"), ("linux/amd64/v3", "linux/amd64")):
        waiting = of_levels(failures={failed: "no"}, **partial)
        assert [str(each) for each in awaited_platforms(waiting, NOW)] == [other]
        rest = retract(of_levels("linux/amd64/v3", "linux/amd64"), {failed: "no"})
        assert [str(each.platform) for each in rest.entries] == [other]
        assert judged(of_levels(other, failures={failed: "no"}, **partial)).is_push_due


def test_only_the_image_of_the_failed_level_takes_its_failure_back() -> None:
    narrow, wide = parse_platform("linux/amd64/v3"), parse_platform("linux/amd64")
    options = of_levels(failures={"linux/amd64": "no"}).options
    assert forget_failures(options, built=[narrow], present=[narrow]).failures == {"linux/amd64": "no"}
    assert forget_failures(options, built=[wide], present=[narrow, wide]).failures == {}
    other = parse_platform("linux/amd64/v2")
    assert forget_failures(options, built=[other], present=[other, narrow]).failures == {}


def test_a_failure_can_name_a_windows_build() -> None:
    expected = ["windows(10.0.17763)/amd64", "windows(10.0.20348)/amd64"]
    failed = draft(expected_platforms=expected, failures={"windows(10.0.20348.7)/x86_64": "no"})
    assert list(failed.options.failures) == ["windows(10.0.20348.7)/amd64"]
    assert [each.full_name for each in awaited_platforms(failed, NOW)] == expected[:1]
    either = draft(expected_platforms=expected, failures={"windows/amd64": "no"})
    assert awaited_platforms(either, NOW) == ()


def test_a_failed_build_takes_back_its_image_and_not_an_artifact_for_its_platform() -> None:
    before = listed("linux/amd64")
    sbom = replace(
        from_index(entry("r.test/sbom:1"), config=Platform())[0], artifact_type="application/vnd.example.sbom"
    )
    for entries in ((sbom, *before.entries), (*before.entries, sbom)):
        after = retract(replace(before, entries=entries), {"linux/amd64": "exit code 1"})
        assert [each.reference for each in after.entries] == [sbom.reference]
