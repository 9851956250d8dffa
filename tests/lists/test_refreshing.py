"""Refreshing a list, whose sources are resolved again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.lists.draft import Entry, Given, Origin
from app.lists.overrides import PlatformOverride
from app.lists.refreshing import plan_refresh, refresh
from app.lists.source import Source
from app.oci.digest import digest_of
from app.oci.platform import Platform, parse_platform
from app.oci.reference import parse_reference
from tests.lists.builders import draft, entry, from_index

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
INDEX = Origin(parse_reference("r.test/index:1"))
PINNED = f"r.test/a@{digest_of(b'a')}"


def test_only_sources_with_a_tag_and_no_digest_are_resolved_again() -> None:
    of_index = replace(entry(f"r.test/index:1@{digest_of(b'x')}", ARM64), origin=INDEX)
    listed = draft(entries=[entry(PINNED), entry("r.test/b:1", ARM64), of_index])
    assert plan_refresh(listed) == (
        Source(parse_reference("r.test/b:1")),
        Source(parse_reference("r.test/index:1")),
    )


def test_a_source_that_was_removed_meanwhile_is_not_added_again() -> None:
    kept = draft(entries=[entry("r.test/a:1")])
    gone = Source(parse_reference("r.test/gone:1"))
    after, told = refresh(kept, [gone], [[entry("r.test/gone:1", ARM64)]])
    assert (after, told) == (kept, ())


def test_the_override_of_an_entry_survives_a_refresh() -> None:
    old = replace(
        entry(f"r.test/index:1@{digest_of(b'old')}", AMD64, override={"variant": "v2"}), origin=INDEX
    )
    new = replace(entry(f"r.test/index:1@{digest_of(b'new')}", AMD64), origin=INDEX)
    after, (told,) = refresh(draft(entries=[old]), [Source(INDEX.reference)], [[new]])
    assert [(each.id, each.digest, each.platform.variant) for each in after.entries] == [
        (old.id, new.digest, "v2")
    ]
    assert (told.before, told.after) == (old.digest, new.digest)


def test_two_images_of_one_platform_stay_two_entries() -> None:
    old = [replace(entry(f"r.test/index:1@{digest_of(text)}", AMD64), origin=INDEX) for text in (b"a", b"b")]
    new = [replace(entry(f"r.test/index:1@{digest_of(text)}", AMD64), origin=INDEX) for text in (b"a", b"c")]
    listed = draft(entries=old, allow_duplicate_platforms=True)
    after, told = refresh(listed, [Source(INDEX.reference)], [new])
    assert [(each.id, each.digest) for each in after.entries] == [
        (old[0].id, new[0].digest),
        (old[1].id, new[1].digest),
    ]
    assert [(each.before, each.after) for each in told] == [
        (old[0].digest, old[0].digest),
        (old[1].digest, new[1].digest),
    ]


def test_an_annotation_that_the_index_has_dropped_goes_and_one_of_the_caller_stays() -> None:
    before = from_index(entry("r.test/a:1", annotations={"old": "1", "same": "1"}))
    (said,) = [replace(each, annotations={**each.annotations, "own": "1", "same": "2"}) for each in before]
    found = from_index(entry("r.test/a:1", annotations={"new": "1"}, content="moved"), index="moved")
    source = Source(parse_reference("registry.test/source:1"))
    after, _ = refresh(draft(entries=[said]), [source], [found])
    assert after.entries[0].annotations == {"new": "1", "own": "1", "same": "2"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("windows(10.0.20348.1)/amd64", "windows(10.0.20348.2)/amd64"),
        ("windows(10.0.20348)/amd64", "windows(10.0.20348.2)/amd64"),
        ("windows(10.0.20348.2)/amd64", "windows(10.0.20348.1)/amd64"),
        ("linux/arm64", "linux/arm64/v8"),
    ],
)
def test_a_newer_revision_continues_the_entry_of_its_build(before: str, after: str) -> None:
    other = parse_platform("windows(10.0.17763.1)/amd64")
    old = [
        replace(entry(f"r.test/index:1@{digest_of(text)}", platform, annotations={"a": "b"}), origin=INDEX)
        for text, platform in ((b"other", other), (b"old", parse_platform(before)))
    ]
    new = [
        replace(entry(f"r.test/index:1@{digest_of(text)}", platform), origin=INDEX)
        for text, platform in ((b"new", parse_platform(after)), (b"newer", other))
    ]
    refreshed, told = refresh(draft(entries=old), [Source(INDEX.reference)], [new])
    assert {(each.id, each.digest) for each in refreshed.entries} == {
        (old[1].id, new[0].digest),
        (old[0].id, new[1].digest),
    }
    assert all(each.annotations == {"a": "b"} for each in refreshed.entries)
    assert all(each.before and each.after for each in told)


def for_platform(platform: Platform, *, member: int = 0, content: str = "a") -> Entry:
    """An image of linux/amd64 that callers gave for a platform."""
    override = PlatformOverride({"os": platform.os, "architecture": platform.architecture})
    plain = entry("r.test/a:1", AMD64, override=override.members, content=content)
    return replace(plain, given=Given(member, 0, override, call=0))


@pytest.mark.parametrize(
    "platforms",
    [
        [AMD64, ARM64],
        [ARM64, Platform("linux", "s390x")],
        [Platform("windows", "amd64"), AMD64, Platform("freebsd", "arm64")],
    ],
)
def test_an_image_for_several_platforms_is_renewed_for_each(platforms: list[Platform]) -> None:
    listed = draft(entries=[for_platform(each, member=place) for place, each in enumerate(platforms)])
    assert plan_refresh(listed) == (Source(parse_reference("r.test/a:1")),)
    found = replace(entry("r.test/a:1", AMD64, content="new"), given=Given(0, 0))
    after, told = refresh(listed, plan_refresh(listed), [[found]])
    assert [each.platform for each in after.entries] == platforms
    assert [each.id for each in after.entries] == [each.id for each in listed.entries]
    assert [each.given for each in after.entries] == [each.given for each in listed.entries]
    assert {each.digest for each in after.entries} == {found.digest}
    assert [each.after for each in told] == [found.digest for _ in platforms]


def test_an_index_that_lists_one_image_for_several_platforms_is_renewed_for_each() -> None:
    platforms = [AMD64, ARM64, Platform("linux", "s390x")]

    def listed_as(content: bytes, *which: Platform) -> list[Entry]:
        return [
            replace(
                entry(f"r.test/index:1@{digest_of(content)}", each, content=content.decode()), origin=INDEX
            )
            for each in which
        ]

    before = draft(entries=listed_as(b"old", *platforms))
    moved, _ = refresh(before, plan_refresh(before), [listed_as(b"new", *platforms[::-1])])
    assert {each.id: each.platform for each in moved.entries} == {
        each.id: each.platform for each in before.entries
    }
    other = Platform("linux", "riscv64")
    same, told = refresh(before, plan_refresh(before), [listed_as(b"old", *platforms[:2], other)])
    assert [each.platform for each in same.entries] == [*platforms[:2], other]
    gone = before.entries[2]
    assert [(each.before, each.after) for each in told if each.entry_id == gone.id] == [(gone.digest, None)]


def test_the_selection_of_a_source_counts_again() -> None:
    named = replace(entry("r.test/a:1", ARM64), given=Given(0, 0, platforms=(ARM64,), call=0))
    assert plan_refresh(draft(entries=[named])) == (Source(named.reference, platforms=(ARM64,)),)


def test_a_tag_that_has_become_an_index_continues_each_entry_with_its_platform() -> None:
    before = draft(entries=[for_platform(ARM64), for_platform(AMD64)])
    found = [
        replace(
            entry(f"r.test/a:1@{digest_of(text)}", platform), origin=Origin(parse_reference("r.test/a:1"))
        )
        for text, platform in ((b"x", AMD64), (b"y", ARM64))
    ]
    after, _ = refresh(before, plan_refresh(before), [found])
    assert {each.id: (each.platform, each.digest) for each in after.entries} == {
        before.entries[0].id: (ARM64, found[1].digest),
        before.entries[1].id: (AMD64, found[0].digest),
    }
