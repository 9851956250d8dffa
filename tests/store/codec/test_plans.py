"""Push plans in JSON: those of neighbouring versions are read, and written as they were."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from app.lists.assessment import assess
from app.lists.push_plan import FIRST, NONE, Conditions, Consent, plan_push
from app.lists.run_order import RunOrder
from app.oci.digest import digest_of
from app.oci.manifest import Manifest
from app.oci.media_types import OCI_INDEX
from app.oci.platform import Platform
from app.store.codec.plans import encode_plan, encode_planned_list, read_plan, read_planned_list
from app.store.database import dump_json
from tests.lists.builders import NOW, draft, entry, from_index
from tests.store.codec.documents import stored

INDEX = Manifest.of(OCI_INDEX, b"{}")


@pytest.mark.parametrize("text", stored("pushes.plan"))
def test_a_plan_is_written_as_it_was_read(text: str) -> None:
    assert dump_json(encode_plan(read_plan(INDEX, json.loads(text)))) == text


def test_a_new_plan_is_read_as_it_was_written() -> None:
    listed = draft("r.test/app:1", [entry("r.test/a:1"), entry(f"r.test/b@{digest_of(b'b')}")], run_number=7)
    planned = plan_push(
        listed,
        assess(listed),
        NOW,
        conditions=Conditions(if_digest=digest_of(b"old")),
        consent=Consent(unverified=True),
    )
    assert read_plan(planned.index, json.loads(json.dumps(encode_plan(planned)))) == planned
    assert planned.order == RunOrder(NOW, 7)


def test_a_plan_of_a_copied_image_is_read_as_it_was_written() -> None:
    image = entry("r.test/a:1", Platform("windows", "amd64", "", "10.0.1", ("win32k",)))
    listed = draft("r.test/app:1", [image], exact=True)
    planned = plan_push(listed, assess(listed), NOW)
    assert planned.choices == ((image.platform, image.digest),)
    assert read_plan(planned.index, json.loads(json.dumps(encode_plan(planned)))) == planned


def test_a_plan_names_the_indexes_that_a_new_index_was_made_from() -> None:
    source = from_index(entry("r.test/a:1"), entry("r.test/b:1", Platform("linux", "arm64")))
    copied, changed = draft(entries=source), draft(entries=[*source, entry("r.test/c:1")], exact=False)
    origin = source[0].reference.repository.at(digest_of(b"index"))
    for listed, origins in ((copied, ()), (changed, (origin,))):
        planned = plan_push(listed, assess(listed), NOW)
        assert planned.origins == origins
        assert read_plan(planned.index, json.loads(json.dumps(encode_plan(planned)))) == planned


def test_members_that_a_version_did_not_write_have_their_defaults() -> None:
    first = {"children": [], "targets": [], "conditions": {"if_absent": False, "if_digest": None}}
    plan = read_plan(INDEX, first)
    assert (plan.order, plan.consent, plan.referrers, plan.missing_platforms) == (FIRST, NONE, False, ())
    assert plan.order.is_older_than(RunOrder(datetime(1970, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize("text", stored("operations.result", "plan"))
def test_the_list_of_a_plan_is_written_as_it_was_read(text: str) -> None:
    document = json.loads(text)
    members = encode_planned_list(read_planned_list(document))
    assert list(members.items()) == list(document.items())[: len(members)]
