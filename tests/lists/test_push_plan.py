"""Plans of pushes: targets, keys and conditions."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ListNotPushable, TagMoved
from app.lists.assessment import assess
from app.lists.draft import Draft
from app.lists.push_plan import Conditions, PushPlan, plan_push
from app.oci.digest import digest_of
from app.oci.platform import Platform
from app.oci.reference import parse_reference
from tests.lists.builders import NOW, draft, entry


def planned_push(of: Draft, **wanted: Any) -> PushPlan:
    return plan_push(of, assess(of), NOW, **wanted)


def test_a_list_goes_to_its_reference_its_tags_and_its_targets_by_repository() -> None:
    planned = planned_push(
        draft(
            "registry.test/app:1",
            [entry("r.test/a:1")],
            tags=["latest", "1"],
            targets=["other.test/app:1", "registry.test/app:stable"],
        ),
        targets=[parse_reference("third.test/app:1")],
    )
    assert [(str(target.repository), target.tags) for target in planned.targets] == [
        ("registry.test/app", ("1", "latest", "stable")),
        ("other.test/app", ("1",)),
        ("third.test/app", ("1",)),
    ]


def test_every_tag_has_its_own_key() -> None:
    planned = planned_push(draft("registry.test/app:1", [entry("r.test/a:1")], tags=["latest"]))
    assert planned.keys == ("push:registry.test/app:1", "push:registry.test/app:latest")


def test_a_tag_has_one_key_for_all_spellings_of_its_registry() -> None:
    """Otherwise two pushes could move the tag at the same time."""
    spellings = [
        ["registry.test/app:1", "Registry.Test/app:1", "registry.test:443/app:1"],
        [
            "app:1",
            "docker.io/library/app:1",
            "registry-1.docker.io/library/app:1",
            "index.docker.io/library/app:1",
        ],
    ]
    for names in spellings:
        plans = [planned_push(draft(name, [entry("r.test/a:1")])) for name in names]
        assert len({plan.keys for plan in plans}) == 1
    other_port = planned_push(draft("registry.test:5000/app:1", [entry("r.test/a:1")]))
    assert other_port.keys == ("push:registry.test:5000/app:1",)


def test_a_list_named_by_digest_is_put_under_the_digest_of_its_index() -> None:
    """docker-manifest.md §1.6: the digest in the name is ignored."""
    planned = planned_push(draft(f"registry.test/app@{digest_of(b'x')}", [entry("r.test/a:1")]))
    (target,) = planned.targets
    assert target.references(planned.index.digest) == (target.repository.at(planned.index.digest),)


def test_a_list_named_by_tag_and_digest_is_put_under_the_tag() -> None:
    planned = planned_push(draft(f"registry.test/app:1@{digest_of(b'x')}", [entry("r.test/a:1")]))
    assert planned.targets[0].tags == ("1",)


def test_a_list_without_entries_is_refused() -> None:
    with pytest.raises(ListNotPushable, match="has no entries"):
        planned_push(draft())


def test_the_refusal_names_every_entry_without_a_platform() -> None:
    entries = [
        entry("r.test/a:1"),
        entry("r.test/b:1", Platform("linux", "")),
        entry("r.test/c:1", Platform("", "")),
    ]
    with pytest.raises(ListNotPushable, match="must have an OS and Architecture") as caught:
        planned_push(draft(entries=entries))
    assert [error.pointer for error in caught.value.errors] == ["/entries/1", "/entries/2"]


@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_the_plan_does_not_depend_on_the_order_of_entries(shuffler: random.Random, count: int) -> None:
    entries = [
        entry(f"r.test/app-{number}:1", Platform("linux", "amd64", f"v{number}")) for number in range(count)
    ]
    shuffled = entries[:]
    shuffler.shuffle(shuffled)
    one, other = planned_push(draft(entries=entries)), planned_push(draft(entries=shuffled))
    assert one == other


def test_conditions_check_the_digest_of_the_tag() -> None:
    held, other = digest_of(b"held"), digest_of(b"other")
    Conditions().check("r.test/app:1", held)
    Conditions(if_absent=True).check("r.test/app:1", None)
    Conditions(if_digest=held).check("r.test/app:1", held)
    for conditions, found in [
        (Conditions(if_absent=True), held),
        (Conditions(if_digest=held), other),
        (Conditions(if_digest=held), None),
    ]:
        with pytest.raises(TagMoved, match=r"r\.test/app:1"):
            conditions.check("r.test/app:1", found)
