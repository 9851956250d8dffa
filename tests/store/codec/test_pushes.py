"""Pushes in JSON: rows of neighbouring versions are read, and written as they were."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from app.api.schemas.pushes import Push
from app.lists.findings.finding import Finding, Severity
from app.lists.push_result import BlobProgress, PushResult, TargetReached
from app.lists.pushes import PushState, PushView
from app.oci.copy_outcomes import BlobCounts, ReferrerAction, ReferrerOutcome, TagAction
from app.oci.digest import digest_of, parse_digest
from app.oci.reference import parse_reference
from app.store.codec.pushes import (
    encode_differences,
    encode_kept_reached,
    encode_kept_result,
    encode_previous,
    encode_push_view,
    encode_reached,
    read_differences,
    read_previous,
    read_reached,
    read_result,
)
from app.store.database import dump_json
from tests.store.codec.documents import stored

DIGEST = str(digest_of(b"index"))


@pytest.mark.parametrize("text", stored("pushes.result"))
def test_a_result_is_written_as_it_was_read(text: str) -> None:
    assert dump_json(encode_kept_result(read_result(json.loads(text)))) == text


@pytest.mark.parametrize("action", TagAction)
@pytest.mark.parametrize("tag", [None, "sha256-0.sig"])
@pytest.mark.parametrize("findings", [(), (Finding("tag-not-verified", Severity.WARNING, "It is so."),)])
def test_a_result_is_read_as_it_was_written_and_by_earlier_versions(
    action: TagAction, tag: str | None, findings: tuple[Finding, ...]
) -> None:
    (read,) = read_result({"targets": [_target()]}).targets
    referrer = ReferrerOutcome(read.digest, read.digest, None, ReferrerAction.PUT, tag)
    result = PushResult((replace(read, action=action, referrers=(referrer,)),), (), findings)
    kept = json.loads(json.dumps(encode_kept_result(result)))
    assert read_result(kept) == result
    assert kept["targets"][0]["action"] in {"moved", "left"}


@pytest.mark.parametrize("action", TagAction)
def test_how_far_an_attempt_came_is_read_by_earlier_versions(action: TagAction) -> None:
    reference = parse_reference("registry.test/app:1")
    reached = (TargetReached(reference.repository, BlobProgress(), {}, {reference: action}),)
    kept = json.loads(json.dumps(encode_kept_reached(reached)))
    assert read_reached(kept) == reached
    assert set(kept[0]["tags"]) == {"moved", "left"}
    assert encode_reached(reached)[0]["tags"][action.value] == ["1"]


@pytest.mark.parametrize("text", stored("operations.result", "push"))
def test_the_view_of_a_push_is_written_and_answered_as_before(text: str) -> None:
    before = json.loads(text)
    view = PushView(
        id=UUID(before["id"]),
        operation_id=UUID(before["operation_id"]),
        list_id=UUID(before["list_id"]),
        reference=parse_reference(before["reference"]),
        session=before["session"],
        state=PushState(before["state"]),
        digest=parse_digest(before["digest"]),
        media_type=before["media_type"],
        is_partial=before["partial"],
        missing_platforms=tuple(before["missing_platforms"]),
        result=read_result(before),
        problem=before["problem"],
        restores=UUID(before["restores"]) if before["restores"] else None,
        labels=before["labels"],
        created_by=before["created_by"],
        created_at=datetime.fromisoformat(before["created_at"]),
        ended_at=datetime.fromisoformat(before["ended_at"]),
    )
    assert dump_json(_without_additions(encode_push_view(view))) == text
    assert dump_json(_without_additions(Push.from_view(view).render())) == text


@pytest.mark.parametrize("text", stored("pushes.reached"))
def test_how_far_an_attempt_came_is_written_as_it_was_read(text: str) -> None:
    assert dump_json(encode_reached(read_reached(json.loads(text)))) == text
    assert dump_json(encode_kept_reached(read_reached(json.loads(text)))) == text


@pytest.mark.parametrize("text", stored("pushes.previous"))
def test_what_tags_led_to_is_written_as_it_was_read(text: str) -> None:
    assert encode_previous(read_previous(json.loads(text))) == json.loads(text)


@pytest.mark.parametrize("text", stored("pushes.differences"))
def test_differences_are_written_as_they_were_read(text: str) -> None:
    assert encode_differences(read_differences(json.loads(text))) == json.loads(text)


def _without_additions(document: dict[str, Any]) -> dict[str, Any]:
    """Without the members that later versions have added."""
    assert document.pop("findings") == []
    for target in document["targets"]:
        for referrer in target["referrers"]:
            assert referrer.pop("tag") is None
    return document


def _target(**members: Any) -> dict[str, Any]:
    return {
        "reference": "registry.test/app:1",
        "digest": DIGEST,
        "manifests": [],
        "blobs": {"mounted": 1},
        **members,
    }


def test_members_that_a_version_did_not_write_have_their_defaults() -> None:
    """Before tags could be left, every target was moved; before referrers, none came along."""
    (target,) = read_result({"targets": [_target()]}).targets
    assert (target.action, target.previous, target.difference) == (TagAction.MOVED, None, None)
    assert (target.referrers, target.blobs) == ((), BlobCounts(mounted=1))
    assert read_result({}) == PushResult((), ())


def test_members_that_a_later_version_has_added_are_passed_over() -> None:
    known = {"targets": [_target()], "lines": []}
    later = {"targets": [_target(speed="fast")], "lines": [], "weather": "fair"}
    assert read_result(later) == read_result(known)
