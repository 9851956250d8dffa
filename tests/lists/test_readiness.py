"""What a list lacks, and what is odd about it."""

from __future__ import annotations

import pytest

from app.lists.readiness import (
    Severity,
    find_findings,
    find_plan_findings,
    is_complete,
    is_pushable,
    missing_platforms,
    satisfies,
)
from app.lists.source import parse_any_platform
from app.oci.media_types import DOCKER_MANIFEST
from app.oci.platform import Platform
from tests.lists.builders import draft, entry


def test_a_list_is_complete_when_every_expected_platform_is_there() -> None:
    amd64, arm64 = entry("r.test/a:1"), entry("r.test/b:1", Platform("linux", "arm64", "v8"))
    expected = ["linux/amd64", "linux/arm64"]
    partial = draft(entries=[amd64], expected_platforms=expected)
    assert [str(each) for each in missing_platforms(partial)] == ["linux/arm64"]
    assert not is_complete(partial)
    assert is_complete(draft(entries=[amd64, arm64], expected_platforms=expected))


def test_a_list_without_entries_is_never_complete() -> None:
    assert not is_complete(draft())


@pytest.mark.parametrize(
    ("actual", "expected", "does"),
    [
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/amd64/v3", "linux/amd64/v2", False),
        ("linux/amd64", "windows/amd64", False),
        ({"os": "windows", "architecture": "amd64", "os_version": "10.0.1"}, "windows/amd64", True),
        (
            {"os": "windows", "architecture": "amd64", "os_version": "10.0.1"},
            {"os": "windows", "architecture": "amd64", "os_version": "10.0.2"},
            False,
        ),
        (
            "windows/amd64",
            {"os": "windows", "architecture": "amd64", "os_features": ["win32k"]},
            False,
        ),
    ],
)
def test_an_image_meets_an_expectation(
    actual: str | dict[str, object], expected: str | dict[str, object], does: bool
) -> None:
    assert satisfies(parse_any_platform(actual), parse_any_platform(expected)) is does


def test_an_entry_without_a_platform_keeps_the_list_from_being_pushed() -> None:
    lacking = entry("r.test/a:1", Platform())
    (finding,) = find_findings(draft(entries=[lacking]))
    assert (finding.code, finding.severity, finding.entry_id) == (
        "platform-missing",
        Severity.ERROR,
        lacking.id,
    )


def test_an_empty_list_says_that_it_has_no_entries() -> None:
    assert [finding.code for finding in find_findings(draft())] == ["no-entries"]


def test_a_docker_list_with_annotated_entries_can_not_be_pushed() -> None:
    annotated = entry("r.test/a:1", annotations={"k": "v"})
    contradicting = draft(entries=[annotated], format="docker")
    assert [finding.code for finding in find_findings(contradicting)] == ["format-conflict"]
    assert not is_pushable(contradicting)


def test_oddities_are_warnings_and_errors_come_first() -> None:
    entries = [
        entry("r.test/a:1", Platform("linux", "arm64", "nonsense")),
        entry("r.test/b:1", Platform("windows", "loong64"), media_type=DOCKER_MANIFEST),
        entry("r.test/c:1", Platform("linux", "amd64")),
        entry("r.test/d:1", Platform("linux", "amd64")),
        entry("r.test/e:1", Platform()),
    ]
    found = find_findings(draft(entries=entries))
    assert found[0].code == "platform-missing"
    assert {finding.code for finding in found[1:]} == {
        "unknown-variant",
        "unknown-platform",
        "shared-platform",
        "mixed-media-types",
    }
    assert all(finding.severity is Severity.WARNING for finding in found[1:])


def test_a_plain_list_has_nothing_to_say() -> None:
    assert find_findings(draft(entries=[entry("r.test/a:1")])) == ()


def test_a_plan_of_a_list_that_lacks_a_platform_warns_of_it() -> None:
    lacking = draft(entries=[entry("r.test/a:1")], expected_platforms=["linux/amd64", "linux/arm64/v8"])
    assert find_findings(lacking) == ()
    (finding,) = find_plan_findings(lacking)
    assert (finding.code, finding.severity) == ("missing-platforms", Severity.WARNING)
    assert "linux/arm64/v8" in finding.detail
    assert find_plan_findings(draft(entries=[entry("r.test/a:1")])) == ()


def test_an_image_that_nobody_expects_is_told() -> None:
    entries = [entry("r.test/a:1"), entry("r.test/b:1", Platform("linux", "s390x"))]
    (finding,) = find_findings(draft(entries=entries, expected_platforms=["linux/amd64/v1"]))
    assert (finding.code, finding.severity) == ("unexpected-platform", Severity.WARNING)
    assert finding.entry_id == entries[1].id
