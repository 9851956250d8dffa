"""When a list keeps the bytes of its source."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from app.lists.draft import Given
from app.lists.entry_changes import EntryChanges, annotate, remove
from app.lists.origins.copying import find_copied, find_obstacle
from app.lists.origins.entry_order import in_order
from app.lists.overrides import PlatformOverride
from app.oci.digest import digest_of
from app.oci.media_types import DOCKER_LIST, DOCKER_MANIFEST
from app.oci.platform import Platform
from tests.lists.builders import draft, entry, from_index

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
IMAGES = [entry("r.test/a:1", AMD64), entry("r.test/b:1", ARM64, annotations={"k": "v"})]
INDEX = digest_of(b"index")


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"format": "oci"}, {"tags": ["latest"]}])
def test_a_whole_index_is_copied(options: dict[str, Any]) -> None:
    copied = find_copied(draft(entries=from_index(*IMAGES), **options))
    assert str(copied) == f"registry.test/source@{INDEX}"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"annotations": {"a": "b"}}, "annotations"),
        ({"artifact_type": "application/vnd.example"}, "artifact type"),
        ({"subject": {"mediaType": "a/b", "digest": str(INDEX), "size": 1}}, "subject"),
        ({"format": "docker"}, "format docker"),
    ],
)
def test_options_that_change_the_bytes_stop_it(options: dict[str, Any], why: str) -> None:
    changed = draft(entries=from_index(*IMAGES), **options)
    assert find_copied(changed) is None
    assert why in (find_obstacle(changed) or "")


def test_a_list_that_refuses_copies_is_none() -> None:
    assert find_copied(draft(entries=from_index(*IMAGES), exact=False)) is None


def test_a_docker_list_is_copied_into_a_list_of_the_format_docker() -> None:
    entries = [
        replace(each, listing=replace(each.listing, index_type=DOCKER_LIST) if each.listing else None)
        for each in from_index(*IMAGES)
    ]
    assert find_copied(draft(entries=entries, format="docker")) is not None
    assert find_copied(draft(entries=entries, format="oci")) is None


def test_changes_of_entries_stop_it_until_they_are_taken_back() -> None:
    entries = from_index(*IMAGES)
    for changes in (
        EntryChanges(PlatformOverride({"variant": "v8"})),
        EntryChanges(annotations={"a": "b"}),
        EntryChanges(annotations={"k": None}),
    ):
        changed = annotate(entries, entries[1], changes, allow_duplicate_platforms=False)
        assert find_copied(draft(entries=changed)) is None
    back = annotate(
        changed, changed[1], EntryChanges(annotations={"k": "v"}), allow_duplicate_platforms=False
    )
    assert find_copied(draft(entries=back)) is not None
    assert find_copied(draft(entries=remove(entries, entries[0]))) is None


def test_an_override_that_says_what_the_index_says_is_no_change() -> None:
    entries = from_index(*IMAGES)
    changed = annotate(
        entries,
        entries[0],
        EntryChanges(PlatformOverride({"os": "linux"})),
        allow_duplicate_platforms=False,
    )
    assert find_copied(draft(entries=changed)) is not None


def test_several_sources_are_no_copy() -> None:
    one, other = from_index(IMAGES[0]), from_index(IMAGES[1], index="other")
    for entries in ([*one, *other], [*one, IMAGES[1]], [IMAGES[1], *one], IMAGES, []):
        assert find_copied(draft(entries=entries)) is None
        assert find_copied(draft(entries=entries, exact=True)) is None


def test_a_selection_is_copied_only_if_asked_and_if_it_is_everything() -> None:
    whole = from_index(*IMAGES, selected=[AMD64, ARM64])
    assert find_copied(draft(entries=whole)) is None
    assert find_copied(draft(entries=whole, exact=True)) is not None
    part = from_index(IMAGES[0], selected=[AMD64], count=2)
    assert find_copied(draft(entries=part, exact=True)) is None


@pytest.mark.parametrize("media_type", [DOCKER_MANIFEST, "application/vnd.oci.image.manifest.v1+json"])
def test_an_image_is_copied_only_if_asked(media_type: str) -> None:
    image = entry("r.test/a:1", AMD64, media_type=media_type)
    assert find_copied(draft(entries=[image])) is None
    assert str(find_copied(draft(entries=[image], exact=True))) == f"r.test/a@{image.digest}"
    annotated = entry("r.test/a:1", AMD64, annotations={"a": "b"})
    overridden = entry("r.test/a:1", AMD64, override={"variant": "v2"})
    for changed in (annotated, overridden):
        assert find_copied(draft(entries=[changed], exact=True)) is None


def test_an_entry_of_an_earlier_version_says_that_a_refresh_is_needed() -> None:
    entries = [replace(each, listing=None) for each in from_index(IMAGES[0])]
    assert find_copied(draft(entries=entries)) is None
    assert "Refresh" in (find_obstacle(draft(entries=entries, exact=True)) or "")


@pytest.mark.parametrize("order", ["docker", "as-given"])
def test_the_entries_of_a_copy_have_the_order_of_the_source(order: str) -> None:
    images = [entry(f"r.test/{name}:1", Platform("linux", name)) for name in ("s390x", "amd64", "arm64")]
    listed = [
        replace(each, given=Given(source=0, member=member)) for member, each in enumerate(from_index(*images))
    ]
    for entries in permutations(listed):
        assert list(in_order(draft(entries=entries, order=order))) == listed
