"""The result of a push: one target for each reference, and Docker's lines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from app.lists.assessment import assess
from app.lists.difference import Difference
from app.lists.push_plan import PushPlan, plan_push
from app.lists.pushes import Push
from app.oci.copy_outcomes import BlobCounts, TagAction
from app.oci.digest import digest_of
from app.oci.reference import parse_reference
from app.registry.push.model import CopyResult
from app.services.pushes.result import build_result
from tests.lists.builders import draft, entry

NOW = datetime(2026, 11, 23, tzinfo=UTC)
OWN, LATEST = parse_reference("r.test/app:1"), parse_reference("r.test/app:latest")
OLD = digest_of(b"old")


def plan() -> PushPlan:
    listed = draft("r.test/app:1", [entry("r.test/app:amd64"), entry("other.test/b:1")], tags=["latest"])
    return plan_push(listed, assess(listed), NOW)


def push(planned: PushPlan, **kept: Any) -> Push:
    return Push(
        id=uuid4(),
        operation_id=uuid4(),
        list_id=None,
        reference=OWN,
        session="",
        labels={},
        plan=planned,
        created_by="ci",
        **kept,
    )


def copied(**tags: TagAction) -> CopyResult:
    return CopyResult(
        manifests=(), blobs=BlobCounts(copied=2), previous={}, tags={"1": TagAction.MOVED, **tags}
    )


def test_each_tag_is_a_target_with_what_it_led_to_before_any_attempt() -> None:
    planned, difference = plan(), Difference()
    kept = push(planned, previous={OWN: OLD, LATEST: None}, differences={OWN: difference})
    result = build_result(planned, [copied(latest=TagAction.MOVED)], kept)
    assert [(each.reference, each.previous, each.difference) for each in result.targets] == [
        (OWN, OLD, difference),
        (LATEST, None, None),
    ]
    assert {each.digest for each in result.targets} == {planned.index.digest}


def test_a_tag_that_was_left_to_a_newer_run_has_not_moved() -> None:
    planned = plan()
    result = build_result(planned, [copied(latest=TagAction.LEFT)], push(planned))
    assert result.moved == {OWN}


def test_the_lines_are_those_of_docker() -> None:
    """Docker reports the manifests of other repositories, and then the digest of the index."""
    planned = plan()
    result = build_result(planned, [copied(latest=TagAction.MOVED)], push(planned))
    foreign = digest_of(b"other.test/b:1")
    assert result.lines == (
        f"Pushed ref r.test/app@{foreign} with digest: {foreign}",
        str(planned.index.digest),
    )


def test_a_target_without_tags_leads_to_the_index_by_digest() -> None:
    listed = draft(f"r.test/app@{OLD}", [entry("r.test/app:amd64")])
    planned = plan_push(listed, assess(listed), NOW)
    bare = CopyResult(
        manifests=(), blobs=BlobCounts(), previous={}, tags={str(planned.index.digest): TagAction.MOVED}
    )
    result = build_result(planned, [bare], push(planned))
    assert result.moved == {OWN.repository.at(planned.index.digest)}
