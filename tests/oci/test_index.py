from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.oci import media_types as mt
from app.oci.descriptor import Descriptor
from app.oci.digest import digest_of
from app.oci.index import Format, build_index, sort_key
from app.oci.manifest import Index, parse_manifest
from app.oci.platform import Platform


def entry(
    reference: str, media_type: str = mt.DOCKER_MANIFEST, platform: Platform | None = None
) -> Descriptor:
    platform = platform or Platform("linux", "amd64")
    return Descriptor(media_type, digest_of(reference.encode()), 528, platform)


def _order(references: list[str]) -> list[str]:
    return sorted(references, key=sort_key)


def test_entries_are_ordered_by_dockers_file_names() -> None:
    """Compared as bytes; `:` becomes `-` and `/` becomes `_` (docker-manifest.md §2.1)."""
    ordered = [
        "h.example/r:a",
        "h.example/r-a:1",
        "h.example/r.a:1",
        "h.example/r0:a",
        f"h.example/r@{digest_of(b'')}",
        "h.example/r/a:1",
        "h.example/ra:1",
    ]
    for seed in range(20):
        shuffled = random.Random(seed).sample(ordered, len(ordered))
        assert _order(shuffled) == ordered


def test_references_with_one_file_name_are_ordered_too() -> None:
    """In Docker, one of them replaces the other."""
    twins = ["h.example/repo:amd64-1", "h.example/repo-amd64:1"]
    assert sort_key(twins[0])[0] == sort_key(twins[1])[0]
    assert _order(twins) == _order(twins[::-1])
    assert len(json.loads(build_index(list(map(entry, twins))).raw)["manifests"]) == 2


EXPECTED = """{
   "schemaVersion": 2,
   "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
   "manifests": [
      {
         "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
         "size": 528,
         "digest": "%s",
         "platform": {
            "architecture": "amd64",
            "os": "windows",
            "os.version": "10.0.\\u003c1\\u003e",
            "os.features": [
               "win32k"
            ],
            "variant": "v1"
         }
      }
   ]
}"""


def test_the_bytes_are_dockers() -> None:
    platform = Platform("windows", "amd64", "v1", "10.0.<1>", ("win32k",))
    index = build_index([entry("h.example/a:1", platform=platform)])
    assert index.raw.decode() == EXPECTED % digest_of(b"h.example/a:1")
    assert index.digest.matches(index.raw)


def test_a_size_of_zero_is_omitted_as_in_go() -> None:
    child = json.loads(build_index([_annotated(size=0)]).raw)["manifests"][0]
    assert list(child) == ["mediaType", "digest", "platform"]


def test_an_index_without_entries_is_an_empty_docker_list() -> None:
    index = build_index([])
    assert index.media_type == mt.DOCKER_LIST
    assert (
        index.raw
        == f'{{\n   "schemaVersion": 2,\n   "mediaType": "{mt.DOCKER_LIST}",\n   "manifests": []\n}}'.encode()
    )


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (mt.OCI_MANIFEST, mt.DOCKER_MANIFEST, mt.OCI_INDEX),
        (mt.DOCKER_MANIFEST, mt.OCI_MANIFEST, mt.DOCKER_LIST),
        (mt.OCI_MANIFEST, mt.OCI_MANIFEST, mt.OCI_INDEX),
        (mt.DOCKER_MANIFEST, mt.DOCKER_MANIFEST, mt.DOCKER_LIST),
    ],
)
def test_the_first_entry_decides_the_type(first: str, second: str, expected: str) -> None:
    index = build_index([entry("h.example/b:1", first), entry("h.example/a:1", second)])
    assert index.media_type == expected
    assert [child["mediaType"] for child in json.loads(index.raw)["manifests"]] == [first, second]


@pytest.mark.parametrize("media_type", [mt.DOCKER_MANIFEST, mt.OCI_MANIFEST])
def test_a_chosen_format_takes_precedence_over_the_entries(media_type: str) -> None:
    entries = [entry("h.example/a:1", media_type)]
    assert build_index(entries, format=Format.DOCKER).media_type == mt.DOCKER_LIST
    assert build_index(entries, format=Format.OCI).media_type == mt.OCI_INDEX


def _annotated(**changes: Any) -> Descriptor:
    return replace(entry("h.example/a:1"), **changes)


SUBJECT = Descriptor(mt.OCI_INDEX, digest_of(b"subject"), 7)


def test_members_that_docker_does_not_support_make_an_oci_index() -> None:
    plain = [entry("h.example/a:1")]
    assert build_index(plain, annotations={"a": "b"}).media_type == mt.OCI_INDEX
    assert build_index(plain, artifact_type="a/b").media_type == mt.OCI_INDEX
    assert build_index(plain, subject=SUBJECT).media_type == mt.OCI_INDEX
    assert build_index([_annotated(annotations={"a": "b"})]).media_type == mt.OCI_INDEX
    assert build_index([_annotated(artifact_type="a/b")]).media_type == mt.OCI_INDEX
    assert build_index(plain, annotations={}, artifact_type=None, subject=None).media_type == mt.DOCKER_LIST


def test_members_that_docker_does_not_support_are_refused_in_dockers_format() -> None:
    plain = [entry("h.example/a:1")]
    with pytest.raises(InvalidInput, match="format oci"):
        build_index(plain, format=Format.DOCKER, annotations={"a": "b"})
    with pytest.raises(InvalidInput):
        build_index(plain, format=Format.DOCKER, artifact_type="a/b")
    with pytest.raises(InvalidInput):
        build_index(plain, format=Format.DOCKER, subject=SUBJECT)
    with pytest.raises(InvalidInput):
        build_index([_annotated(annotations={"a": "b"})], format=Format.DOCKER)


def test_extensions_keep_dockers_order_of_members() -> None:
    index = build_index(
        [
            _annotated(
                annotations={"z": "1", "a": "2"},
                artifact_type="c/d",
                urls=("https://x.example",),
                data="e30=",
                features=("sse4",),
            )
        ],
        annotations={"y": "1", "b": "2"},
        artifact_type="a/b",
        subject=SUBJECT,
    )
    document = json.loads(index.raw)
    assert list(document) == [
        "schemaVersion",
        "mediaType",
        "artifactType",
        "manifests",
        "subject",
        "annotations",
    ]
    assert list(document["manifests"][0]) == [
        "mediaType",
        "size",
        "digest",
        "urls",
        "platform",
        "annotations",
        "data",
        "artifactType",
    ]
    assert list(document["manifests"][0]["platform"])[-1] == "features"
    assert list(document["manifests"][0]["annotations"]) == ["a", "z"]
    assert list(document["annotations"]) == ["b", "y"]
    assert document["subject"] == {"mediaType": mt.OCI_INDEX, "size": 7, "digest": str(SUBJECT.digest)}


def test_members_that_dockers_descriptors_have_make_no_oci_index() -> None:
    docker = _annotated(urls=("https://x.example",), features=("sse4",))
    assert build_index([docker]).media_type == mt.DOCKER_LIST
    assert build_index([_annotated(data="e30=")]).media_type == mt.OCI_INDEX
    with pytest.raises(InvalidInput):
        build_index([_annotated(data="e30=")], format=Format.DOCKER)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
platforms = st.builds(Platform, texts, texts, texts, texts, st.lists(texts, max_size=3).map(tuple))
references = st.from_regex(r"h\.example/[a-z]{1,3}([._/-][a-z0-9]{1,2})?:[a-zA-Z0-9_.-]{1,3}", fullmatch=True)
entry_lists = st.lists(
    st.builds(entry, references, st.sampled_from(mt.IMAGE_TYPES), platforms),
    max_size=6,
)


@given(entry_lists, st.dictionaries(texts, texts, max_size=3))
def test_a_built_index_can_be_parsed(entries: list[Descriptor], annotations: dict[str, str]) -> None:
    index = build_index(entries, annotations=annotations)
    parsed = parse_manifest(index.raw, index.media_type)
    assert isinstance(parsed, Index)
    assert parsed.manifest == index
    assert parsed.annotations == annotations
    assert list(parsed.manifests) == entries
