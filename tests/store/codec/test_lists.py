"""The views of lists in JSON: the members and their order are those that callers know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.api.schemas.lists import DraftList
from app.lists.assessment import assess
from app.lists.events import describe_list
from app.lists.options import OPTION_NAMES
from app.lists.refreshing import Refreshed
from app.lists.views import RefreshedListView, view_list
from app.oci.digest import digest_of
from app.oci.platform import Platform
from app.store.codec.events import encode_event
from app.store.codec.lists import encode_list_view, encode_refreshed_view
from tests.lists.builders import draft, entry
from tests.store.codec.documents import stored


def document(**options: Any) -> dict[str, Any]:
    listed = draft(entries=[entry("r.test/a:1", annotations={"k": "v"})], **options)
    return encode_list_view(view_list(listed, assess(listed)))


@pytest.mark.parametrize("text", stored("operations.result", "create", "add"))
def test_the_members_of_a_list_and_of_its_entries_are_in_the_order_of_before(text: str) -> None:
    before, now = json.loads(text), document()
    assert [name for name in now if name in before] == list(before)
    for each in before["entries"]:
        assert [name for name in now["entries"][0] if name in each] == list(each)


def test_the_api_renders_a_list_as_operations_keep_it() -> None:
    windows = Platform("windows", "amd64", "", "10.0.1", ("win32k",))
    listed = draft(
        entries=[entry("r.test/a:1", annotations={"k": "v"}), entry("r.test/b:1", windows)],
        subject={"mediaType": "a/b", "digest": str(digest_of(b"subject")), "size": 3},
        targets=["other.test/app:1"],
        expected_platforms=["linux/amd64", "linux/arm64"],
        complete_by="2026-11-23T00:00:00+00:00",
        labels={"run": "1"},
    )
    view = view_list(listed, assess(listed))
    assert json.dumps(DraftList.from_view(view).render()) == json.dumps(encode_list_view(view))


def test_every_option_is_a_member_of_the_list() -> None:
    assert set(OPTION_NAMES) <= set(document())


def test_an_entry_says_whose_place_it_has_taken_to_the_caller_that_replaced_it() -> None:
    listed = draft(entries=[entry("r.test/a:1")])
    view = view_list(listed, assess(listed))
    old = digest_of(b"old")
    replaced = encode_list_view(view.with_replaced({listed.entries[0].id: old}))
    assert [each["replaced"] for each in replaced["entries"]] == [str(old)]
    assert [each["replaced"] for each in encode_list_view(view)["entries"]] == [None]


def test_refreshed_entries_and_events_name_the_version_of_windows() -> None:
    windows = Platform("windows", "amd64", "", "10.0.20348.1")
    listed = draft(entries=[entry("r.test/a:1", windows)])
    assessment = assess(listed)
    (old,) = listed.entries
    refreshed = Refreshed(old.id, old.reference, windows, old.digest, old.digest)
    view = RefreshedListView(view_list(listed, assessment), (refreshed,))
    (found,) = encode_refreshed_view(view)["refreshed"]
    assert found["platform"] == "windows(10.0.20348.1)/amd64"
    assert encode_event(describe_list(listed, assessment))["platforms"] == ["windows(10.0.20348.1)/amd64"]
