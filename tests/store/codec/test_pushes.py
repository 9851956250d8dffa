"""Pushes in JSON: rows of neighbouring versions are read, and written as they were."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.lists.push_result import PushResult
from app.oci.copy_outcomes import BlobCounts, TagAction
from app.oci.digest import digest_of
from app.store.codec.pushes import (
    encode_differences,
    encode_previous,
    encode_push_view,
    encode_reached,
    encode_result,
    read_differences,
    read_previous,
    read_push_view,
    read_reached,
    read_result,
)
from app.store.database import dump_json
from tests.store.codec.documents import stored

DIGEST = str(digest_of(b"index"))


@pytest.mark.parametrize("text", stored("pushes.result"))
def test_a_result_is_written_as_it_was_read(text: str) -> None:
    assert dump_json(encode_result(read_result(json.loads(text)))) == text


@pytest.mark.parametrize("text", stored("operations.result", "push"))
def test_the_view_of_a_push_is_written_as_it_was_read(text: str) -> None:
    assert dump_json(encode_push_view(read_push_view(json.loads(text)))) == text


@pytest.mark.parametrize("text", stored("pushes.reached"))
def test_how_far_an_attempt_came_is_written_as_it_was_read(text: str) -> None:
    assert dump_json(encode_reached(read_reached(json.loads(text)))) == text


@pytest.mark.parametrize("text", stored("pushes.previous"))
def test_what_tags_led_to_is_written_as_it_was_read(text: str) -> None:
    assert encode_previous(read_previous(json.loads(text))) == json.loads(text)


@pytest.mark.parametrize("text", stored("pushes.differences"))
def test_differences_are_written_as_they_were_read(text: str) -> None:
    assert encode_differences(read_differences(json.loads(text))) == json.loads(text)


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
    view = read_push_view(
        {
            "id": "00000000-0000-4000-8000-000000000001",
            "operation_id": "00000000-0000-4000-8000-000000000002",
            "list_id": None,
            "reference": "registry.test/app:1",
            "session": "",
            "state": "succeeded",
            "digest": DIGEST,
            "media_type": "application/vnd.oci.image.index.v1+json",
            "created_by": "ci",
            "created_at": "2026-11-23T00:00:00Z",
            "ended_at": None,
        }
    )
    assert (view.is_partial, view.missing_platforms, view.restores, view.labels) == (False, (), None, {})


def test_members_that_a_later_version_has_added_are_passed_over() -> None:
    known = {"targets": [_target()], "lines": []}
    later = {"targets": [_target(speed="fast")], "lines": [], "weather": "fair"}
    assert read_result(later) == read_result(known)
