"""Errors that prevent a push of a list, and warnings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.lists.draft import Entry, Given, ImageFacts
from app.lists.findings.finding import Severity
from app.lists.findings.list_findings import find_findings, find_revisions
from app.oci.media_types import DOCKER_MANIFEST, OCI_CONFIG
from app.oci.platform import Platform
from app.oci.reference import parse_reference
from tests.lists.builders import draft, entry, from_index


def test_an_entry_without_a_platform_prevents_a_push() -> None:
    lacking = entry("r.test/a:1", Platform())
    (finding,) = find_findings(draft(entries=[lacking]))
    assert (finding.code, finding.severity, finding.entry_id) == (
        "platform-missing",
        Severity.ERROR,
        lacking.id,
    )


def test_an_empty_list_has_a_finding() -> None:
    assert [finding.code for finding in find_findings(draft())] == ["no-entries"]


def test_a_docker_list_with_annotated_entries_can_not_be_pushed() -> None:
    annotated = entry("r.test/a:1", annotations={"k": "v"})
    contradicting = draft(entries=[annotated], format="docker")
    assert [finding.code for finding in find_findings(contradicting)] == ["format-conflict"]


def test_warnings_follow_errors() -> None:
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


def test_a_plain_list_has_no_findings() -> None:
    assert find_findings(draft(entries=[entry("r.test/a:1")])) == ()


def test_an_image_of_an_unexpected_platform_is_a_finding() -> None:
    entries = [entry("r.test/a:1"), entry("r.test/b:1", Platform("linux", "s390x"))]
    (finding,) = find_findings(draft(entries=entries, expected_platforms=["linux/amd64/v1"]))
    assert (finding.code, finding.severity) == ("unexpected-platform", Severity.WARNING)
    assert finding.entry_id == entries[1].id


def test_an_image_in_the_place_of_another_legs_is_told_within_a_session() -> None:
    given = Given(0, 0, call=1, replaced=parse_reference("r.test/b:1"))
    listed = draft(entries=[replace(entry("r.test/a:1"), given=given)])
    assert find_findings(listed) == ()
    (finding,) = find_findings(replace(listed, session="run"))
    assert (finding.code, finding.severity) == ("image-replaced", Severity.WARNING)
    assert finding.detail == "r.test/a:1 replaced r.test/b:1, which the session had for linux/amd64."


def test_revisions_of_one_reference_are_all_told() -> None:
    entries = [
        replace(entry("r.test/a:1", Platform("linux", name)), image=ImageFacts(revision=revision))
        for name, revision in (("amd64", "one"), ("arm64", "one"), ("s390x", "two"))
    ]
    assert find_revisions(entries) == {"r.test/a:1": "one", "r.test/a:1 (linux/s390x)": "two"}


WINDOWS = Platform("windows", "amd64", os_version="10.0.20348.1")


def test_findings_name_the_version_of_windows() -> None:
    given = Given(0, 0, call=1, replaced=parse_reference("r.test/b:1"))
    replaced = replace(draft(entries=[replace(entry("r.test/a:1", WINDOWS), given=given)]), session="run")
    shared = draft(entries=[entry("r.test/a:1", WINDOWS), entry("r.test/b:1", WINDOWS)])
    for listed in (replaced, shared):
        (finding,) = find_findings(listed)
        assert "windows(10.0.20348.1)/amd64" in finding.detail


SBOM = "application/vnd.example.sbom"


def artifact(reference: str, artifact_type: str = SBOM) -> Entry:
    return replace(
        from_index(entry(reference), config=Platform(), index=reference)[0],
        reference=parse_reference(reference),
        artifact_type=artifact_type,
    )


@pytest.mark.parametrize(
    ("entries", "codes"),
    [
        # Docker's order decides, not the order here.
        ([entry("r.test/b:1"), artifact("r.test/a:1")], ["shared-platform"]),
        ([artifact("r.test/b:1"), entry("r.test/a:1")], []),
        ([artifact("r.test/a:1"), artifact("r.test/b:1", "application/vnd.example.other")], []),
        ([artifact("r.test/a:1"), artifact("r.test/b:1")], ["shared-platform"]),
        ([artifact("r.test/a:1", OCI_CONFIG), entry("r.test/b:1")], ["shared-platform", "platform-mismatch"]),
    ],
)
def test_an_artifact_before_the_image_of_its_platform_is_a_finding(
    entries: list[Entry], codes: list[str]
) -> None:
    found = find_findings(draft(entries=entries))
    wanted = {"shared-platform", "platform-mismatch"}
    assert sorted(each.code for each in found if each.code in wanted) == sorted(codes)


def test_the_first_of_two_images_for_a_platform_is_named_first() -> None:
    (finding,) = find_findings(draft(entries=[entry("r.test/b:1"), entry("r.test/a:1")]))
    assert finding.detail.startswith("r.test/a:1 and r.test/b:1 are both linux/amd64.")
