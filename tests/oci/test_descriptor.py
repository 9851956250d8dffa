from __future__ import annotations

from typing import Any

import pytest

from app.errors import SourceInvalid
from app.oci import media_types as mt
from app.oci.descriptor import Descriptor, parse_descriptor
from app.oci.digest import parse_digest
from app.oci.platform import Platform

OTHER = "sha256:" + "0123456789abcdef" * 4
MINIMAL: dict[str, Any] = {"mediaType": mt.OCI_MANIFEST, "digest": OTHER, "size": 7}
FULL: dict[str, Any] = {
    "mediaType": mt.OCI_MANIFEST,
    "digest": OTHER,
    "size": 7,
    "urls": ["https://elsewhere.example"],
    "annotations": {"a": "1", "b": "2"},
    "platform": {
        "architecture": "arm",
        "os": "linux",
        "os.version": "1",
        "os.features": ["f"],
        "variant": "v7",
    },
    "artifactType": "application/vnd.example",
}


@pytest.mark.parametrize("document", [MINIMAL, FULL])
def test_a_parsed_descriptor_renders_as_the_same_document(document: dict[str, Any]) -> None:
    descriptor = parse_descriptor(document)
    assert descriptor.document() == document
    assert list(descriptor.document()) == list(document)
    assert parse_descriptor(descriptor.document()) == descriptor


def test_members_are_parsed_into_their_types() -> None:
    assert parse_descriptor(FULL) == Descriptor(
        mt.OCI_MANIFEST,
        parse_digest(OTHER),
        7,
        Platform("linux", "arm", "v7", "1", ("f",)),
        {"a": "1", "b": "2"},
        "application/vnd.example",
        ("https://elsewhere.example",),
    )


def test_annotations_are_rendered_sorted() -> None:
    descriptor = Descriptor(mt.OCI_MANIFEST, parse_digest(OTHER), 7, annotations={"b": "", "a": "", "Z": ""})
    annotations = descriptor.document()["annotations"]
    assert isinstance(annotations, dict)
    assert list(annotations) == ["Z", "a", "b"]


def test_descriptors_can_be_members_of_sets() -> None:
    assert len({parse_descriptor(FULL), parse_descriptor(FULL), parse_descriptor(MINIMAL)}) == 2


def test_an_empty_platform_is_still_a_platform() -> None:
    assert parse_descriptor({**MINIMAL, "platform": {}}).platform == Platform()
    assert parse_descriptor({**MINIMAL, "platform": {"os": None, "os.features": None}}).platform == Platform()
    assert parse_descriptor({**MINIMAL, "platform": None}).platform is None


@pytest.mark.parametrize(
    "platform", [[], "linux/amd64", 5, {"os": 5}, {"os.features": "x"}, {"os.features": [1]}]
)
def test_a_malformed_platform_is_refused(platform: Any) -> None:
    with pytest.raises(SourceInvalid, match=r"[Tt]he platform of the child"):
        parse_descriptor({**MINIMAL, "platform": platform}, what="the child")


def test_the_refusal_names_the_descriptor_and_the_problem() -> None:
    with pytest.raises(SourceInvalid) as refusal:
        parse_descriptor({**MINIMAL, "digest": "md5:abc"}, what="layers[3]")
    assert refusal.value.detail == "The digest of layers[3] is not valid: unsupported digest algorithm."
