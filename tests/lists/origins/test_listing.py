"""Which members of an index a list that is made from it leaves out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.lists.origins.listing import lost_of_descriptor, lost_of_indexes
from app.oci.descriptor import parse_descriptor
from app.oci.digest import digest_of
from app.oci.manifest import Index, parse_manifest
from app.oci.media_types import OCI_INDEX, OCI_MANIFEST

DIGEST = str(digest_of(b"x"))
LISTED: dict[str, Any] = {"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 1}


def index(**members: Any) -> Index:
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], **members}
    found = parse_manifest(json.dumps(document).encode(), OCI_INDEX)
    assert isinstance(found, Index)
    return found


@pytest.mark.parametrize(
    ("members", "names"),
    [
        ({}, ()),
        ({"annotations": {}, "subject": None, "x-own": None}, ()),
        ({"annotations": {"b": "1", "a": "2"}}, ("annotations (a, b)",)),
        ({"artifactType": "application/x"}, ("artifactType (application/x)",)),
        ({"subject": LISTED}, (f"subject ({DIGEST})",)),
        ({"x-own": 0, "y-own": []}, ("x-own", "y-own")),
    ],
)
def test_members_of_an_index_are_named(members: dict[str, Any], names: tuple[str, ...]) -> None:
    assert lost_of_indexes([index(**members)]) == names


def test_many_annotations_are_cut_and_indexes_within_count() -> None:
    many = index(annotations={f"k{number:02}": "v" for number in range(20)})
    (named,) = lost_of_indexes([many, index(), many])
    assert named == "annotations (k00, k01, k02, k03, k04, k05, k06, k07, …)"
    assert lost_of_indexes([many, index(**{"x-own": 1})]) == (named, "x-own")


@pytest.mark.parametrize(
    ("members", "names"),
    [
        ({"annotations": {"a": "b"}, "artifactType": "application/x", "urls": []}, ()),
        ({"platform": {"os": "linux", "architecture": "amd64", "variant": "v2"}}, ()),
        ({"urls": ["https://example.com"], "data": "e30="}, ("urls", "data")),
        (
            {"platform": {"os": "linux", "architecture": "amd64", "features": ["sse4"], "own": 1}},
            ("platform.features", "platform.own"),
        ),
        ({"own": {"deep": 1}}, ("own",)),
    ],
)
def test_members_of_a_descriptor_are_named(members: dict[str, Any], names: tuple[str, ...]) -> None:
    assert lost_of_descriptor(parse_descriptor({**LISTED, **members})) == names
