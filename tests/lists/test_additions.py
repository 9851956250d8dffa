"""Merging the additions of several callers into one list."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from app.errors import DuplicatePlatform, ListExists, MixedRevisions
from app.lists.additions import Addition, CreateOptions, Merged, merge_additions, new_list
from app.lists.draft import Draft, Entry, ImageFacts
from app.oci.platform import Platform
from app.oci.reference import parse_reference
from tests.lists.builders import NOW, draft, entry

ARM64 = Platform("linux", "arm64")
AMEND = CreateOptions(amend=True)


def addition(*entries: Entry, by: str = "ci", create: CreateOptions | None = AMEND) -> Addition:
    return Addition(uuid4(), by, entries, create)


def patch(**options: Any) -> CreateOptions:
    return CreateOptions(amend=True, patch=options)


def merged(before: Draft, *additions: Addition) -> Merged:
    return merge_additions(before, additions, NOW)


def unsaved() -> Draft:
    return new_list(parse_reference("r.test/app:1"), "", "nobody", NOW)


def added(result: Merged) -> list[UUID]:
    return list(result.replaced)


def test_additions_are_merged_in_their_order() -> None:
    one, two = addition(entry("r.test/a:1")), addition(entry("r.test/b:1", ARM64))
    result = merged(unsaved(), one, two)
    assert [str(each.reference) for each in result.after.entries] == ["r.test/a:1", "r.test/b:1"]
    assert added(result) == [one.operation_id, two.operation_id]
    assert result.refused == {}


def test_a_create_without_amend_is_refused_once_the_list_exists() -> None:
    first = addition(entry("r.test/a:1"), create=CreateOptions())
    second = addition(entry("r.test/b:1", ARM64), create=CreateOptions())
    result = merged(unsaved(), first, second)
    assert added(result) == [first.operation_id]
    assert isinstance(result.refused[second.operation_id], ListExists)
    assert isinstance(merged(draft(), second).refused[second.operation_id], ListExists)


def test_an_addition_to_an_existing_list_needs_no_options() -> None:
    plain = addition(entry("r.test/a:1"), create=None)
    assert added(merged(draft(), plain)) == [plain.operation_id]


def test_a_refused_addition_does_not_affect_the_others_and_creates_no_list() -> None:
    colliding = addition(entry("r.test/a:1"), entry("r.test/b:1"), by="first")
    good = addition(entry("r.test/c:1"), by="second")
    result = merged(unsaved(), colliding, good)
    assert isinstance(result.refused[colliding.operation_id], DuplicatePlatform)
    assert added(result) == [good.operation_id]
    assert result.before.created_by == result.after.created_by == "second"


def test_a_list_stays_empty_if_all_additions_are_refused() -> None:
    before = unsaved()
    result = merged(before, addition(entry("r.test/a:1"), entry("r.test/b:1")))
    assert added(result) == []
    assert result.after.entries == ()


def test_each_addition_reports_the_images_that_it_replaced() -> None:
    old, new = entry("r.test/a:1", content="old"), entry("r.test/b:1", content="new")
    first, second = addition(old), addition(new)
    result = merged(unsaved(), first, second)
    assert result.replaced[first.operation_id] == {}
    assert result.replaced[second.operation_id] == {new.id: old.digest}


def test_an_image_for_a_failed_build_clears_the_failure() -> None:
    failed = addition(create=patch(failures={"linux/arm64": "exit code 1"}))
    repaired = addition(entry("r.test/a:1", ARM64))
    assert merged(unsaved(), failed).after.options.failures == {"linux/arm64": "exit code 1"}
    assert merged(unsaved(), failed, repaired).after.options.failures == {}


def test_a_failure_that_is_reported_later_removes_the_image() -> None:
    image = addition(entry("r.test/a:1", ARM64))
    failed = addition(create=patch(failures={"linux/arm64": "exit code 1"}))
    assert merged(unsaved(), image, failed).after.entries == ()


def test_one_insecure_leg_makes_the_list_insecure() -> None:
    insecure = addition(create=CreateOptions(amend=True, insecure=True))
    result = merged(unsaved(), addition(), insecure, addition())
    assert result.after.options.insecure


def test_a_list_with_same_revision_refuses_an_image_of_another_revision() -> None:
    one = replace(entry("r.test/a:1"), image=ImageFacts(revision="a"))
    other = replace(entry("r.test/b:1", ARM64), image=ImageFacts(revision="b"))
    first, second = addition(one, create=patch(same_revision=True)), addition(other)
    result = merged(unsaved(), first, second)
    assert isinstance(result.refused[second.operation_id], MixedRevisions)
    assert result.after.entries == (one,)
