"""Requests that workers of neighbouring versions have written, or will read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from app.operations.request_codec import (
    REQUIRES,
    OperationRequest,
    UnreadableRequest,
    decode_request,
    encode_request,
)
from app.operations.requests import (
    AddEntriesRequest,
    CreateListRequest,
    DeliverRequest,
    InspectImageRequest,
    InspectImagesRequest,
    PlanPushRequest,
    PushListRequest,
    RefreshListRequest,
)
from app.operations.states import Kind

TYPES: dict[Kind, type[OperationRequest]] = {
    each.kind: each
    for each in (
        AddEntriesRequest,
        CreateListRequest,
        DeliverRequest,
        InspectImageRequest,
        InspectImagesRequest,
        PlanPushRequest,
        PushListRequest,
        RefreshListRequest,
    )
}
# Requests as version 1 wrote them; never change a sample, since workers of that version read such rows.
SAMPLES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "requests_of_version_1.json").read_text()
)
EACH_KIND = pytest.mark.parametrize("kind", list(Kind))


class NewerInspection(InspectImageRequest):
    """The request as the next version may have it: members of which an older worker must not ignore one."""

    version: ClassVar[int] = 2

    @property
    def required_version(self) -> int:
        return 2

    def document(self) -> dict[str, Any]:
        return {**super().document(), "platform": "linux/arm64"}


def test_every_kind_has_a_type_and_a_sample() -> None:
    assert set(TYPES) == set(Kind) == {Kind(name) for name in SAMPLES}


@EACH_KIND
def test_a_request_is_stored_with_exactly_the_members_that_the_first_version_reads(kind: Kind) -> None:
    sample = SAMPLES[kind]
    assert encode_request(decode_request(TYPES[kind], sample)) == sample


@EACH_KIND
def test_a_decoded_request_equals_the_encoded_one(kind: Kind) -> None:
    request = decode_request(TYPES[kind], SAMPLES[kind])
    assert decode_request(TYPES[kind], json.loads(json.dumps(encode_request(request)))) == request


@EACH_KIND
def test_an_unknown_member_is_ignored(kind: Kind) -> None:
    sample = SAMPLES[kind]
    assert decode_request(TYPES[kind], {**sample, "added_later": {"a": [1]}}) == decode_request(
        TYPES[kind], sample
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.CREATE_LIST, "session"),
        (Kind.CREATE_LIST, "amend"),
        (Kind.CREATE_LIST, "insecure"),
        (Kind.CREATE_LIST, "options"),
        (Kind.CREATE_LIST, "sources"),
        (Kind.ADD_ENTRIES, "insecure"),
        (Kind.REFRESH_LIST, "insecure"),
        (Kind.PUSH_LIST, "purge"),
        (Kind.PUSH_LIST, "insecure"),
        (Kind.PUSH_LIST, "follows"),
        (Kind.PLAN_PUSH, "insecure"),
        (Kind.INSPECT_IMAGE, "verbose"),
        (Kind.INSPECT_IMAGE, "insecure"),
    ],
)
def test_a_missing_optional_member_has_its_default(kind: Kind, name: str) -> None:
    without = {key: value for key, value in SAMPLES[kind].items() if key != name}
    encoded = encode_request(decode_request(TYPES[kind], without))
    assert encoded.keys() == SAMPLES[kind].keys()
    assert not encoded[name]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.CREATE_LIST, "reference"),
        (Kind.ADD_ENTRIES, "list_id"),
        (Kind.ADD_ENTRIES, "sources"),
        (Kind.REFRESH_LIST, "list_id"),
        (Kind.PLAN_PUSH, "plan"),
        (Kind.PLAN_PUSH, "raw"),
        (Kind.INSPECT_IMAGE, "reference"),
        (Kind.INSPECT_IMAGES, "inspections"),
        (Kind.DELIVER, "delivery_id"),
    ],
)
def test_a_request_without_a_necessary_member_is_left_for_another_worker(kind: Kind, name: str) -> None:
    without = {key: value for key, value in SAMPLES[kind].items() if key != name}
    with pytest.raises(UnreadableRequest):
        decode_request(TYPES[kind], without)


@EACH_KIND
@pytest.mark.parametrize("required", [3, "2", None, [2]])
def test_a_request_that_requires_a_newer_version_is_left_for_another_worker(
    kind: Kind, required: object
) -> None:
    with pytest.raises(UnreadableRequest):
        decode_request(TYPES[kind], {**SAMPLES[kind], REQUIRES: required})


@pytest.mark.parametrize("value", ["", "not an id", 7, None])
def test_a_member_of_the_wrong_type_is_left_for_another_worker(value: object) -> None:
    with pytest.raises(UnreadableRequest):
        decode_request(DeliverRequest, {"delivery_id": value})


def test_a_newer_version_says_which_version_its_request_requires() -> None:
    document = encode_request(NewerInspection("registry.example/app:1"))
    assert document[REQUIRES] == 2
    with pytest.raises(UnreadableRequest):
        decode_request(InspectImageRequest, document)
    assert decode_request(NewerInspection, document) == NewerInspection("registry.example/app:1")


def test_a_newer_version_reads_the_requests_of_the_first() -> None:
    request = decode_request(NewerInspection, SAMPLES["inspect"])
    assert (request.reference, request.verbose) == ("registry.example/app:1", True)


@pytest.mark.parametrize(("exact", "required"), [(None, 1), (True, 2), (False, 2)])
def test_a_list_that_asks_for_a_copy_is_left_for_later_versions(exact: bool | None, required: int) -> None:
    options = {} if exact is None else {"exact": exact}
    assert CreateListRequest("r.test/app:1", ["r.test/a:1"], options=options).required_version == required


def test_a_push_with_choices_is_left_for_later_versions() -> None:
    assert PushListRequest().required_version == 1
    request = PushListRequest(has_choices=True)
    assert request.required_version == 2
    assert decode_request(PushListRequest, encode_request(request)) == request


@pytest.mark.parametrize(
    ("sources", "options", "required"),
    [
        (["r.test/a:1", "r.test/b:1"], {}, 1),
        (["r.test/a:1"], {"order": "docker"}, 1),
        (["r.test/a:1"], {"order": None}, 1),
        (["r.test/a:1"], {"order": "as-given"}, 2),
        (["r.test/a:1", {"reference": "r.test/a:1", "platform": "linux/arm64"}], {}, 2),
        ([{"reference": "r.test/a:1", "platform": name} for name in ("linux/amd64", "linux/s390x")], {}, 2),
    ],
)
def test_what_the_first_version_would_lose_is_left_for_later_versions(
    sources: list[Any], options: dict[str, Any], required: int
) -> None:
    create = CreateListRequest("r.test/app:1", sources, options=options)
    assert create.required_version == required
    added = AddEntriesRequest(uuid4(), sources)
    assert added.required_version == (1 if options else required)
