"""Matching images with expected platforms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lists.source import parse_any_platform
from app.lists.variants import (
    assign,
    choice,
    describe_shared,
    find_failed,
    find_retracted,
    satisfies,
    select,
    unmet,
)
from app.oci.platform import Platform


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
        ("windows(10.0.20348.2113)/amd64", "windows(10.0.20348)/amd64", True),
        ("windows(10.0.20348.2113)/amd64", "windows(10.0.20348.1)/amd64", True),
        ("windows(10.0.20348)/amd64", "windows(10.0.20348.1)/amd64", True),
        ("windows(10.0.20348.1)/amd64", "windows(10.0)/amd64", True),
        ("windows(10.0.203481.1)/amd64", "windows(10.0.20348)/amd64", False),
        ("windows(10.0.20348.1)/amd64", "windows(10.0.17763.1)/amd64", False),
        ("windows/amd64", "windows(10.0.20348)/amd64", False),
        ("freebsd(14.1.0.1)/amd64", "freebsd(14.1.0.2)/amd64", False),
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


BUILDS = [parse_any_platform(f"windows({version})/amd64") for version in ("10.0.1.1", "10.0.1.2", "10.0.2.1")]


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ("windows/amd64", BUILDS),
        ("windows(10.0.1)/amd64", BUILDS[:2]),
        ("windows(10.0.1.9)/amd64", BUILDS[:2]),
        ("windows(10.0.1.2)/amd64", BUILDS[1:2]),
        ("windows(10.0.3)/amd64", []),
    ],
)
def test_a_selection_takes_a_build_or_just_the_revision_that_it_names(
    wanted: str, taken: list[Platform]
) -> None:
    assert select(BUILDS, [parse_any_platform(wanted)]) == set(taken)


# --- which image meets which expectation ---

Written = str | dict[str, Any]
GRAPHICS: Written = {"os": "windows", "architecture": "amd64", "os_features": ["win32k"]}


def windows(version: str) -> Written:
    return {"os": "windows", "architecture": "amd64", "os_version": version}


def parsed(*platforms: Written) -> list[Platform]:
    return [parse_any_platform(each) for each in platforms]


def names(platforms: Iterable[Platform]) -> list[str]:
    return [each.full_name for each in platforms]


NARROW_FIRST = [
    (["linux/amd64", "linux/amd64/v3"], "linux/amd64/v3", "linux/amd64"),
    (["linux/amd64/v3", "linux/amd64"], "linux/amd64/v3", "linux/amd64"),
    (["linux/arm64", "linux/arm64/v9"], "linux/arm64/v9", "linux/arm64"),
    (["linux/arm", "linux/arm/v6"], "linux/arm/v6", "linux/arm"),
    (["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7", "linux/arm/v6"),
    (["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"], "linux/amd64/v2", "linux/amd64"),
    (["windows/amd64", windows("10.0.20348")], windows("10.0.20348.2113"), "windows/amd64"),
    (["windows/amd64", GRAPHICS], GRAPHICS, "windows/amd64"),
]


@pytest.mark.parametrize(("expected", "present", "lacking"), NARROW_FIRST)
def test_one_image_meets_only_the_narrowest_of_several_expectations(
    expected: list[Written], present: Written, lacking: str
) -> None:
    assert lacking in names(unmet(parsed(*expected), parsed(present)))
    assert parsed(present)[0] not in unmet(parsed(*expected), parsed(present))


@pytest.mark.parametrize(
    ("expected", "present"),
    [
        (["linux/amd64", "linux/amd64/v3"], ["linux/amd64/v3", "linux/amd64"]),
        (["linux/amd64", "linux/amd64/v3"], ["linux/amd64/v2", "linux/amd64/v3"]),
        (["linux/arm64", "linux/arm64/v9"], ["linux/arm64/v9", "linux/arm64/v8"]),
        (["linux/arm/v6", "linux/arm/v7"], ["linux/arm", "linux/arm/v6"]),
        ([windows("10.0.20348"), windows("10.0.17763")], [windows("10.0.17763.9"), windows("10.0.20348.1")]),
        (["windows/amd64", GRAPHICS], [GRAPHICS, "windows/amd64"]),
    ],
)
def test_several_images_meet_them_in_any_order(expected: list[Written], present: list[Written]) -> None:
    for order in permutations(parsed(*present)):
        assert unmet(parsed(*expected), order) == ()


@pytest.mark.parametrize(
    "spellings",
    [
        ["linux/arm64", "linux/arm64/v8"],
        ["linux/arm/v7", "linux/arm"],
        [windows("10.0.20348"), windows("10.0.20348.1"), windows("10.0.20348.2700")],
    ],
)
def test_several_spellings_of_one_platform_are_met_by_one_image(spellings: list[Written]) -> None:
    assert unmet(parsed(*spellings), parsed(spellings[-1])) == ()
    assert unmet(parsed(*spellings), []) == tuple(parsed(*spellings))


def test_an_image_gives_way_to_another_that_meets_nothing_else() -> None:
    anything, graphics = parsed("windows/amd64", GRAPHICS)
    (old,) = parsed(windows("10.0.17763"))
    both = Platform("windows", "amd64", os_version="10.0.17763.1", os_features=("win32k",))
    assert assign([anything, graphics, old], [both, graphics, anything]) == [(old,), (graphics,), (anything,)]


@pytest.mark.parametrize(
    ("failed", "expected", "meant"),
    [
        ("linux/amd64", ["linux/amd64", "linux/amd64/v3"], ["linux/amd64"]),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v3"], ["linux/amd64/v3"]),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2"], ["linux/amd64"]),
        ("linux/arm", ["linux/arm/v6", "linux/arm/v7"], ["linux/arm/v6", "linux/arm/v7"]),
        ("linux/arm64/v8", ["linux/arm64", "linux/arm64/v9"], ["linux/arm64"]),
        ("linux/arm64", ["linux/arm64", "linux/arm64/v8"], ["linux/arm64", "linux/arm64/v8"]),
        (
            "windows(10.0.20348.7)/amd64",
            ["windows/amd64", windows("10.0.20348")],
            ["windows(10.0.20348)/amd64"],
        ),
        (
            "windows/amd64",
            [windows("10.0.17763"), windows("10.0.20348")],
            ["windows(10.0.17763)/amd64", "windows(10.0.20348)/amd64"],
        ),
        ("linux/s390x", ["linux/amd64"], []),
    ],
)
def test_a_report_of_a_failed_build_is_about_what_it_names(
    failed: str, expected: list[Written], meant: list[str]
) -> None:
    assert sorted(names(find_failed(parsed(*expected), *parsed(failed)))) == meant


def test_a_failed_build_takes_back_only_its_own_image() -> None:
    expected, present = parsed("linux/amd64", "linux/amd64/v3"), parsed("linux/amd64/v3", "linux/amd64")
    assert find_retracted(expected, present, *parsed("linux/amd64")) == [False, True]
    assert find_retracted(expected, present, *parsed("linux/amd64/v3")) == [True, False]
    assert find_retracted([], present, *parsed("linux/amd64")) == [True, True]


wanted = st.builds(
    Platform,
    st.sampled_from(["linux", "windows"]),
    st.just("amd64"),
    st.sampled_from(["", "v1", "v2"]),
    st.sampled_from(["", "10.0", "10.0.17763", "10.0.17763.1"]),
    st.sampled_from([(), ("a",), ("a", "b")]),
)


@given(st.lists(wanted, max_size=5, unique=True), st.lists(wanted, max_size=5), st.randoms())
def test_as_many_as_possible_are_met_and_the_narrowest_of_them(
    expected: list[Platform], present: list[Platform], chooser: Any
) -> None:
    lacking = unmet(expected, present)
    assert set(lacking) == set(expected) - _best(expected, present)
    for platform, spellings in zip(present, assign(expected, present), strict=True):
        assert all(satisfies(platform, each) for each in spellings)
    chooser.shuffle(present)
    assert unmet(expected, present) == lacking


def _best(expected: Sequence[Platform], present: Sequence[Platform]) -> set[Platform]:
    """Of the largest groups of expectations that different images can meet, the narrowest; all are tried."""
    spelled: dict[Any, list[Platform]] = {}
    for platform in expected:
        spelled.setdefault(choice(platform), []).append(platform)
    groups = sorted(spelled.values(), key=lambda group: -max(map(_demands, group)))
    for size in range(len(groups), 0, -1):
        for some in combinations(groups, size):
            if _can_be_met(some, present):
                return {platform for group in some for platform in group}
    return set()


def _can_be_met(groups: Sequence[Sequence[Platform]], present: Sequence[Platform]) -> bool:
    return any(
        all(satisfies(image, each) for image, group in zip(images, groups, strict=True) for each in group)
        for images in permutations(present, len(groups))
    )


def _demands(platform: Platform) -> int:
    parts = [part for part in platform.os_version.split(".") if part]
    version = len(parts[:3]) if platform.os == "windows" else len(parts)
    return bool(platform.variant) + version + len(set(platform.os_features))


def test_two_platforms_that_are_one_choice_are_named() -> None:
    older, newer = parsed(windows("10.0.20348.1"), windows("10.0.20348.2"))
    assert describe_shared(older, older) == "both windows(10.0.20348.1)/amd64"
    assert describe_shared(older, newer) == (
        "windows(10.0.20348.1)/amd64 and windows(10.0.20348.2)/amd64, which count as one platform"
    )
