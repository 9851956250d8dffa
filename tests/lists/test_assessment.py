"""The assessment of a list: its index, its missing platforms, and the references of its push."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.errors import ListNotPushable
from app.lists.assessment import assess, build_draft_index
from app.lists.draft import Draft, Entry
from app.lists.findings.finding import Severity
from app.lists.findings.list_findings import find_findings
from app.oci.manifest import Manifest
from app.oci.media_types import OCI_CONFIG, WASM_CONFIG
from app.oci.platform import Platform, parse_platform
from app.oci.reference import parse_reference
from tests.lists.builders import draft, entry, from_index

ARM64 = Platform("linux", "arm64")
BOTH = ["linux/amd64", "linux/arm64"]


class CountedBuilder:
    """Builds indexes and counts them."""

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


def test_a_list_that_can_not_be_pushed_has_a_refusal_and_no_index() -> None:
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


def test_a_list_is_complete_once_it_has_every_expected_platform() -> None:
    amd64, arm64 = entry("r.test/a:1"), entry("r.test/b:1", Platform("linux", "arm64", "v8"))
    expected = ["linux/amd64", "linux/arm64"]
    partial = draft(entries=[amd64], expected_platforms=expected)
    assert [str(each) for each in assess(partial).missing_platforms] == ["linux/arm64"]
    assert not assess(partial).is_complete
    assert assess(draft(entries=[amd64, arm64], expected_platforms=expected)).is_complete


def test_a_list_without_entries_is_never_complete() -> None:
    assert not assess(draft()).is_complete


def test_the_plan_of_an_incomplete_list_warns_of_the_missing_platforms() -> None:
    lacking = draft(entries=[entry("r.test/a:1")], expected_platforms=["linux/amd64", "linux/arm64/v8"])
    assert find_findings(lacking) == ()
    (finding,) = assess(lacking).plan_findings
    assert (finding.code, finding.severity) == ("missing-platforms", Severity.WARNING)
    assert "linux/arm64/v8" in finding.detail
    assert assess(draft(entries=[entry("r.test/a:1")])).plan_findings == ()


@pytest.mark.parametrize(
    ("expected", "present", "lacking"),
    [
        (["linux/amd64", "linux/amd64/v3"], ["linux/amd64/v3"], ["linux/amd64"]),
        (["linux/arm64/v9", "linux/arm64"], ["linux/arm64/v9"], ["linux/arm64"]),
        (["linux/arm", "linux/arm/v6"], ["linux/arm/v6"], ["linux/arm"]),
        (
            ["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"],
            ["linux/amd64/v3", "linux/amd64/v2"],
            ["linux/amd64"],
        ),
        (
            ["windows/amd64", "windows(+win32k)/amd64"],
            ["windows(10.0.20348.1+win32k)/amd64"],
            ["windows/amd64"],
        ),
    ],
)
def test_an_image_meets_one_expectation_and_not_a_wider_one_as_well(
    expected: list[str], present: list[str], lacking: list[str]
) -> None:
    entries = [entry(f"r.test/a:{place}", parse_platform(each)) for place, each in enumerate(present)]
    partial = assess(draft(entries=entries, expected_platforms=expected))
    assert [each.full_name for each in partial.missing_platforms] == lacking
    assert not partial.is_complete
    (last,) = lacking
    whole = assess(
        draft(entries=[*entries, entry("r.test/a:last", parse_platform(last))], expected_platforms=expected)
    )
    assert whole.is_complete
    assert not [finding for finding in whole.findings if finding.code == "unexpected-platform"]


@pytest.mark.parametrize("version", ["10.0.20348", "10.0.20348.1", "10.0.20348.2700", "10.0"])
def test_a_windows_image_of_any_revision_is_of_the_expected_build(version: str) -> None:
    expected = [{"os": "windows", "architecture": "amd64", "os_version": version}]
    for revision, is_met in {"10.0.20348.1": True, "10.0.20348.2113": True, "10.1.1.1": False}.items():
        image = entry("r.test/a:1", Platform("windows", "amd64", os_version=revision))
        found = assess(draft(entries=[image], expected_platforms=expected))
        assert found.is_complete is is_met
        assert any(each.code == "unexpected-platform" for each in found.findings) is not is_met


def test_a_missing_windows_build_is_named_with_its_version() -> None:
    builds = ["10.0.17763", "10.0.20348"]
    expected = [{"os": "windows", "architecture": "amd64", "os_version": build} for build in builds]
    image = entry("r.test/a:1", Platform("windows", "amd64", os_version="10.0.26100.1"))
    plan = assess(draft(entries=[image], expected_platforms=expected))
    assert "windows(10.0.17763)/amd64, windows(10.0.20348)/amd64" in plan.plan_findings[-1].detail


# A module of WebAssembly has a platform in its own config.
MODULE = replace(
    from_index(entry("r.test/module:1", Platform("wasip1", "wasm")))[0], artifact_type=WASM_CONFIG
)
ARTIFACT_OF_INDEX = replace(
    from_index(entry("r.test/binary:1"), config=Platform())[0], artifact_type="application/vnd.example"
)


@pytest.mark.parametrize(
    ("entries", "expected", "missing"),
    [
        ([ARTIFACT_OF_INDEX, entry("r.test/b:1", Platform("linux", "arm64"))], BOTH, ["linux/amd64"]),
        ([ARTIFACT_OF_INDEX, entry("r.test/a:1")], BOTH, ["linux/arm64"]),
        ([ARTIFACT_OF_INDEX], BOTH, ["linux/arm64"]),
        ([MODULE, entry("r.test/a:1")], ["linux/amd64", "wasip1/wasm"], []),
        ([replace(entry("r.test/a:1"), artifact_type=OCI_CONFIG), entry("r.test/b:1", ARM64)], BOTH, []),
    ],
)
def test_beside_an_image_an_artifact_does_not_meet_an_expectation(
    entries: list[Entry], expected: list[str], missing: list[str]
) -> None:
    listed = draft(entries=entries, expected_platforms=expected)
    assert [str(each) for each in assess(listed).missing_platforms] == missing
