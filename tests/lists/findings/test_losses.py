"""Findings about sources that a list does not copy exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.lists.findings.list_findings import find_findings
from app.lists.findings.losses import find_losses
from app.lists.overrides import PlatformOverride
from app.oci.platform import Platform
from tests.lists.builders import draft, entry, from_index

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
LOST = ("annotations (a, b)", "artifactType (application/vnd.example)", "subject (sha256:1)", "x-own")


def codes(**options: Any) -> list[tuple[str, str]]:
    entries = options.pop("entries")
    return [(each.code, each.severity.value) for each in find_losses(draft(entries=entries, **options))]


def test_a_copy_loses_nothing() -> None:
    entries = from_index(entry("r.test/a:1"), lost=("data",), index_lost=LOST)
    assert codes(entries=entries) == []


def test_a_list_of_its_own_names_what_it_leaves_out() -> None:
    first = from_index(entry("r.test/a:1"), lost=("urls", "data"), index_lost=LOST)
    both = [*first, entry("r.test/b:1", ARM64)]
    of_entry, of_index = find_losses(draft(entries=both))
    assert of_entry.entry_id == first[0].id
    assert "urls, data" in of_entry.detail
    for name in LOST:
        assert name in of_index.detail


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"annotations": {"a": "b"}}, LOST[1:]),
        ({"artifact_type": "application/vnd.example"}, (LOST[0], *LOST[2:])),
        ({"annotations": {"a": "b"}, "artifact_type": "application/vnd.example"}, LOST[2:]),
    ],
)
def test_what_the_list_has_itself_is_not_lost(options: dict[str, Any], left: tuple[str, ...]) -> None:
    both = [*from_index(entry("r.test/a:1"), index_lost=LOST), entry("r.test/b:1", ARM64)]
    (finding,) = find_losses(draft(entries=both, **options))
    assert finding.detail.endswith(f" has: {', '.join(left)}.")


def test_a_changed_index_is_no_copy_and_a_selection_was_meant() -> None:
    whole = from_index(entry("r.test/a:1"), entry("r.test/b:1", ARM64))
    assert codes(entries=whole, annotations={"a": "b"}) == [("not-exact", "warning")]
    assert codes(entries=whole, annotations={"a": "b"}, exact=False) == []
    assert codes(entries=whole[:1]) == [("not-exact", "warning")]
    assert codes(entries=from_index(entry("r.test/a:1"), selected=[AMD64], count=2)) == []


def test_a_list_that_must_be_a_copy_and_is_none_is_not_pushed() -> None:
    several = [entry("r.test/a:1"), entry("r.test/b:1", ARM64)]
    assert codes(entries=several, exact=True) == [("not-exact", "error")]
    assert codes(entries=from_index(*several, count=3), exact=True) == [("not-exact", "error")]
    assert codes(entries=several) == []


def test_an_index_and_a_config_that_disagree_are_told_with_both() -> None:
    (told,) = find_findings(draft(entries=from_index(entry("r.test/a:1", ARM64), config=AMD64)))
    assert told.code == "platform-mismatch"
    assert "linux/arm64" in told.detail
    assert "linux/amd64" in told.detail


@pytest.mark.parametrize("config", [ARM64, Platform("linux", "arm64", "v8")])
def test_an_index_and_a_config_that_agree_are_not_told(config: Platform) -> None:
    assert not find_findings(draft(entries=from_index(entry("r.test/a:1", ARM64), config=config)))


FEATURED = Platform("linux", "arm64", os_features=("a",))


@pytest.mark.parametrize(
    ("listed", "config", "named"),
    [
        (Platform("linux"), ARM64, "linux/(none)"),
        (Platform("", "arm64"), ARM64, "(none)/arm64"),
        (FEATURED, Platform("linux", "arm64", os_features=("b",)), "linux(+a)/arm64"),
    ],
)
def test_a_platform_that_is_half_empty_or_needs_other_features_is_told(
    listed: Platform, config: Platform, named: str
) -> None:
    found = find_findings(draft(entries=from_index(entry("r.test/a:1", listed), config=config)))
    (told,) = [each for each in found if each.code == "platform-mismatch"]
    assert named in told.detail


def test_features_that_the_index_alone_names_are_no_contradiction() -> None:
    assert not find_findings(draft(entries=from_index(entry("r.test/a:1", FEATURED), config=ARM64)))


@pytest.mark.parametrize("order", [1, -1])
def test_what_an_index_within_an_index_loses_is_told_in_any_order(order: int) -> None:
    inner = from_index(entry("r.test/a:1"), index_lost=("annotations (inner)",))
    outer = from_index(entry("r.test/b:1", ARM64), index_lost=("x-own",))
    found = [each.detail for each in find_losses(draft(entries=[*inner, *outer][::order], exact=False))]
    (detail,) = found
    assert "annotations (inner)" in detail
    assert "x-own" in detail


@pytest.mark.parametrize(
    ("config", "said", "is_told"),
    [
        (AMD64, {"architecture": "arm64"}, True),
        (AMD64, {"os": "windows"}, True),
        (Platform("linux", "arm", "v6"), {"variant": "v7"}, True),
        (Platform("windows", "amd64", "", "10.0.20348.1"), {"os_version": "10.0.17763.1"}, True),
        (Platform("windows", "amd64", "", "10.0.20348.1"), {"os_version": "10.0.20348.2"}, False),
        (ARM64, {"variant": "v8"}, False),
        (AMD64, {"architecture": "amd64"}, False),
        (Platform(), {"os": "linux", "architecture": "arm64"}, False),
        (Platform("linux"), {"architecture": "arm64"}, False),
    ],
)
def test_a_platform_that_contradicts_the_config_of_an_image_is_told(
    config: Platform, said: dict[str, str], is_told: bool
) -> None:
    overridden = entry("r.test/a:1", config, override=said)
    found = [
        each for each in find_findings(draft(entries=[overridden])) if each.code == "platform-overridden"
    ]
    assert [each.entry_id for each in found] == ([overridden.id] if is_told else [])


def test_an_override_that_corrects_an_index_is_not_told() -> None:
    (listed,) = from_index(entry("r.test/a:1", ARM64), config=AMD64)
    corrected = replace(listed, override=PlatformOverride({"architecture": "amd64"}))
    assert "platform" not in {
        each.code.partition("-")[0] for each in find_findings(draft(entries=[corrected]))
    }
