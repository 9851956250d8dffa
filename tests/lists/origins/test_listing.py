"""What a list that is made from an index keeps of it, and what it leaves out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.lists.origins.listing import (
    IndexFacts,
    Kept,
    facts_of_index,
    keep_of_descriptor,
    lost_of_descriptor,
    lost_of_indexes,
)
from app.oci.descriptor import parse_descriptor
from app.oci.digest import digest_of
from app.oci.manifest import Index, parse_manifest
from app.oci.media_types import OCI_INDEX, OCI_MANIFEST

DIGEST = str(digest_of(b"x"))
LONG = "x" * 9000
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
        ({"annotations": {"b": "1", "a": "2"}, "artifactType": "application/x"}, ()),
        ({"annotations": {}, "subject": None, "x-own": None}, ()),
        ({"annotations": {"b": LONG, "a": "2"}}, ("annotations (a, b)",)),
        ({"subject": LISTED}, (f"subject ({DIGEST})",)),
        ({"x-own": 0, "y-own": []}, ("x-own", "y-own")),
    ],
)
def test_members_of_an_index_that_no_list_has_are_named(
    members: dict[str, Any], names: tuple[str, ...]
) -> None:
    assert lost_of_indexes([index(**members)]) == names


def test_an_index_within_an_index_loses_all_that_it_says_of_itself() -> None:
    inner = index(annotations={"b": "1"}, artifactType="application/x")
    assert lost_of_indexes([index(), inner]) == ("annotations (b)", "artifactType (application/x)")


def test_many_annotations_are_cut_and_named_once() -> None:
    many = index(annotations={f"k{number:02}": "v" for number in range(20)})
    (named,) = lost_of_indexes([index(), many, many])
    assert named == "annotations (k00, k01, k02, k03, k04, k05, k06, k07, …)"
    assert lost_of_indexes([index(**{"x-own": 1}), many, index(**{"x-own": 1})]) == ("x-own", named)


def test_an_index_says_its_annotations_and_its_artifact_type() -> None:
    said = facts_of_index(index(annotations={"a": "1"}, artifactType="application/x"))
    assert said == IndexFacts({"a": "1"}, "application/x")
    assert facts_of_index(index(annotations={"a": LONG})) == IndexFacts()


@pytest.mark.parametrize(
    ("members", "kept", "names"),
    [
        ({"annotations": {"a": "b"}, "artifactType": "application/x", "urls": []}, Kept(), ()),
        ({"platform": {"os": "linux", "architecture": "amd64", "variant": "v2"}}, Kept(), ()),
        ({"urls": ["https://example.com"]}, Kept(urls=("https://example.com",)), ()),
        ({"urls": ["https://example.com/" + LONG]}, Kept(), ("urls",)),
        ({"data": "eA=="}, Kept(data="eA=="), ()),
        ({"data": "eA", "own": {"deep": 1}}, Kept(), ("data", "own")),
        ({"data": "eQ=="}, Kept(), ("data",)),
        ({"data": "eA==", "size": 2}, Kept(), ("data",)),
        ({"data": "not base64"}, Kept(), ("data",)),
        (
            {"platform": {"os": "linux", "architecture": "amd64", "features": ["sse4"], "own": 1}},
            Kept(features=("sse4",)),
            ("platform.own",),
        ),
    ],
)
def test_members_of_a_descriptor_are_kept_or_named(
    members: dict[str, Any], kept: Kept, names: tuple[str, ...]
) -> None:
    described = parse_descriptor({**LISTED, **members})
    assert (keep_of_descriptor(described), lost_of_descriptor(described)) == (kept, names)
