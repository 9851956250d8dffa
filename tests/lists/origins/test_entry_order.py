"""The order of the entries of a list."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from app.lists.assessment import build_draft_index
from app.lists.draft import Draft, Entry, Given, Origin
from app.lists.entry_changes import amend
from app.lists.origins.entry_order import in_order
from app.oci.digest import digest_of
from app.oci.index import sort_key
from app.oci.platform import Platform
from app.oci.reference import parse_reference
from tests.lists.builders import draft, entry

AMD64, ARM64, S390X = (Platform("linux", name) for name in ("amd64", "arm64", "s390x"))
OLD_WINDOWS = Platform("windows", "amd64", "", "10.0.17763.1")
NEW_WINDOWS = Platform("windows", "amd64", "", "10.0.20348.1")
ORDERS = ["docker", "as-given"]


def image(reference: str, platform: Platform = AMD64, *, source: int = 0) -> Entry:
    return replace(entry(reference, platform), given=Given(source, 0))


def index(name: str, *members: tuple[str, Platform], source: int = 0) -> list[Entry]:
    """The entries of an index, from the contents of its images and their platforms."""
    origin = Origin(parse_reference(name))
    return [
        replace(
            entry(f"{name}@{digest_of(content.encode())}", platform, content=content),
            origin=origin,
            given=Given(source, member),
        )
        for member, (content, platform) in enumerate(members)
    ]


def filled(calls: Sequence[Sequence[Entry]], **options: Any) -> Draft:
    """The list after calls that gave it these entries."""
    listed = draft(**options)
    allowed = listed.options.allow_duplicate_platforms
    for call in calls:
        entries = amend(listed.entries, call, allow_duplicate_platforms=allowed).entries
        listed = replace(listed, entries=entries)
    return listed


def names(listed: Draft) -> list[str]:
    return [str(each.reference) for each in in_order(listed)]


def digests(listed: Draft) -> list[str]:
    return [str(each.digest) for each in in_order(listed)]


def by_digest(*contents: str) -> list[str]:
    return [str(digest_of(content.encode())) for content in contents]


def descending(count: int) -> list[str]:
    """Contents whose digests, which Docker's order would sort by, descend."""
    contents = [str(number) for number in range(count)]
    return sorted(contents, key=lambda content: str(digest_of(content.encode())), reverse=True)


def test_the_order_is_dockers_unless_another_is_chosen() -> None:
    references = ["r.test/z:1", "r.test/a:2", "r.test/a:1"]
    sources = [image(name, AMD64, source=place) for place, name in enumerate(references)]
    listed = filled([sources], allow_duplicate_platforms=True)
    assert names(listed) == sorted(references, key=sort_key)


@pytest.mark.parametrize("references", list(permutations(["r.test/z:1", "r.test/a:2", "r.test/a:1"])))
def test_sources_of_one_call_stand_as_given(references: tuple[str, ...]) -> None:
    platforms = [S390X, AMD64, ARM64]
    sources = [image(name, platforms[place], source=place) for place, name in enumerate(references)]
    for options in ({}, {"expected_platforms": ["linux/amd64", "linux/arm64", "linux/s390x"]}):
        assert names(filled([sources], order="as-given", **options)) == list(references)


DIFFERENT = [
    [S390X, ARM64, AMD64],
    [ARM64, Platform("linux", "arm", "v7"), Platform("linux", "arm", "v6")],
    [Platform("linux", "amd64", "v3"), AMD64, Platform("unknown", "unknown")],
]


@pytest.mark.parametrize("platforms", [[NEW_WINDOWS, OLD_WINDOWS, AMD64], *DIFFERENT])
def test_images_of_an_index_stand_as_in_the_index(platforms: list[Platform]) -> None:
    contents = descending(len(platforms))
    listed = filled([index("r.test/i:1", *zip(contents, platforms, strict=True))], order="as-given")
    assert digests(listed) == by_digest(*contents)
    assert [each.platform for each in in_order(listed)] == platforms


@pytest.mark.parametrize("platforms", DIFFERENT)
def test_images_of_an_index_for_several_platforms_are_in_dockers_order(platforms: list[Platform]) -> None:
    contents = descending(len(platforms))
    listed = filled([index("r.test/i:1", *zip(contents, platforms, strict=True))], exact=False)
    assert digests(listed) == sorted(by_digest(*contents))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "platforms",
    [
        [AMD64, AMD64],
        [AMD64, AMD64, AMD64],
        [ARM64, Platform("linux", "arm64", "v8")],
        [OLD_WINDOWS, OLD_WINDOWS],
        [NEW_WINDOWS, OLD_WINDOWS],
        [OLD_WINDOWS, NEW_WINDOWS, replace(OLD_WINDOWS, os_features=("win32k",))],
    ],
)
def test_images_of_an_index_for_one_platform_keep_its_order(order: str, platforms: list[Platform]) -> None:
    """A reader takes the first that it finds, such as gzip before zstd."""
    contents = descending(len(platforms))
    members = list(zip(contents, platforms, strict=True))
    listed = filled(
        [index("r.test/i:1", *members, ("other", S390X))], order=order, allow_duplicate_platforms=True
    )
    shared = [each for each in digests(listed) if each not in by_digest("other")]
    assert shared == by_digest(*contents)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("expected", [["linux/s390x", "linux/amd64", "linux/arm64"], None])
def test_the_index_of_legs_does_not_depend_on_their_arrival(order: str, expected: list[str] | None) -> None:
    attestation = Platform("unknown", "unknown")
    legs = [
        index("r.test/amd64:1", ("b", AMD64), ("y", attestation)),
        index("r.test/arm64:1", ("c", ARM64), ("x", attestation)),
        [image("r.test/s390x:1", S390X)],
        [image("r.test/app:1", Platform("linux", "ppc64le")), image("r.test/z:1", NEW_WINDOWS, source=1)],
    ]
    options: dict[str, Any] = {"order": order}
    if expected is not None:
        options["expected_platforms"] = expected
    built = set()
    for arrived in permutations(legs):
        listed = replace(filled(arrived, **options), session="run")
        built.add(build_draft_index(listed).digest)
    assert len(built) == 1


def test_legs_stand_in_the_order_of_the_expected_platforms_then_in_dockers() -> None:
    legs = [[image("r.test/c:1", AMD64)], [image("r.test/b:1", ARM64)], [image("r.test/a:1", S390X)]]
    expected = ["linux/amd64", "linux/s390x"]
    listed = filled(legs[::-1], order="as-given", expected_platforms=expected)
    assert names(listed) == ["r.test/c:1", "r.test/a:1", "r.test/b:1"]
    exact = [[image("r.test/a:1", Platform("linux", "amd64", "v3"))], [image("r.test/b:1", AMD64)]]
    both = filled(exact, order="as-given", expected_platforms=["linux/amd64", "linux/amd64/v3"])
    assert names(both) == ["r.test/b:1", "r.test/a:1"]


def test_without_a_session_later_calls_follow_earlier_ones() -> None:
    calls = [[image("r.test/z:1", S390X)], [image("r.test/m:1", ARM64)], [image("r.test/a:1", AMD64)]]
    assert names(filled(calls, order="as-given")) == ["r.test/z:1", "r.test/m:1", "r.test/a:1"]


def test_what_takes_a_place_stands_there() -> None:
    first = [image("r.test/z:1", S390X), image("r.test/a:1", AMD64, source=1)]
    renewed, other = image("r.test/z:1", S390X), image("r.test/b:1", S390X)
    assert names(filled([first, [renewed]], order="as-given")) == ["r.test/z:1", "r.test/a:1"]
    assert names(filled([first, [other]], order="as-given")) == ["r.test/b:1", "r.test/a:1"]
    listed = index("r.test/i:1", ("1", ARM64), ("2", AMD64))
    moved = index("r.test/i:1", ("3", AMD64), ("4", ARM64))
    last = image("r.test/a:1", S390X, source=1)
    assert digests(filled([[*listed, last], moved], order="as-given")) == by_digest("3", "4", "r.test/a:1")


def test_one_image_for_several_platforms_has_one_order() -> None:
    members = [("one", platform) for platform in (S390X, AMD64, ARM64)]
    entries = index("r.test/i:1", *members)
    built = {
        build_draft_index(draft(entries=random.Random(seed).sample(entries, 3))).digest for seed in range(9)
    }
    assert len(built) == 1
    assert [each.platform for each in in_order(filled([entries], order="as-given"))] == [S390X, AMD64, ARM64]


def test_entries_of_an_earlier_version_come_first() -> None:
    old = [replace(image(name, platform), given=None) for name, platform in (("r.test/z:1", S390X),)]
    listed = draft(entries=old, order="as-given")
    after = amend(listed.entries, [image("r.test/a:1", AMD64)], allow_duplicate_platforms=False).entries
    assert names(replace(listed, entries=after)) == ["r.test/z:1", "r.test/a:1"]
