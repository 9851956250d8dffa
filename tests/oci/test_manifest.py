from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import SourceInvalid, SourceUnsupported, SourceUnusable
from app.oci import media_types as mt
from app.oci.digest import digest_of, parse_digest
from app.oci.manifest import ImageManifest, Index, Manifest, parse_manifest
from app.oci.platform import Platform
from tests.support.hostile_documents import EMPTY, OTHER, corpus, image, index, raw, without

HOSTILE = corpus()


def _image(document: dict[str, Any], content_type: str | None = mt.OCI_MANIFEST) -> ImageManifest:
    parsed = parse_manifest(raw(document), content_type)
    assert isinstance(parsed, ImageManifest)
    return parsed


def _index(document: dict[str, Any], content_type: str | None = mt.OCI_INDEX) -> Index:
    parsed = parse_manifest(raw(document), content_type)
    assert isinstance(parsed, Index)
    return parsed


def test_the_corpus_of_hostile_documents_is_large_enough() -> None:
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_documents_are_refused_with_a_reason(name: str) -> None:
    content_type, body = HOSTILE[name]
    with pytest.raises(SourceUnusable) as refusal:
        parse_manifest(body, content_type)
    assert refusal.value.detail.isprintable()
    json.dumps(refusal.value.document()).encode()


@pytest.mark.parametrize("media_type", [mt.DOCKER_MANIFEST, mt.OCI_MANIFEST])
def test_a_parsed_image_has_its_exact_bytes(media_type: str) -> None:
    body = json.dumps(image(media_type), indent=3).encode() + b"\n"
    parsed = parse_manifest(body, media_type)
    assert isinstance(parsed, ImageManifest)
    assert parsed.manifest == Manifest(media_type, body, digest_of(body))
    assert parsed.manifest.size == len(body)
    assert str(parsed.manifest.digest) == f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert [str(layer.digest) for layer in parsed.layers] == [OTHER]
    assert (str(parsed.config.digest), parsed.config.size) == (EMPTY, 2)
    assert not parsed.is_artifact


@pytest.mark.parametrize("media_type", [mt.DOCKER_LIST, mt.OCI_INDEX])
def test_a_parsed_index_has_the_platforms_of_its_children(media_type: str) -> None:
    parsed = _index(index(media_type), media_type)
    assert [child.platform for child in parsed.manifests] == [Platform("linux", "amd64")]
    assert parsed.manifest.media_type == media_type


@pytest.mark.parametrize("media_type", [mt.OCI_MANIFEST, mt.OCI_INDEX])
@pytest.mark.parametrize("stated", [None, ""])
def test_oci_documents_may_omit_their_media_type(media_type: str, stated: str | None) -> None:
    document = index() if media_type == mt.OCI_INDEX else image()
    for body in (without(document, "mediaType"), {**document, "mediaType": stated}):
        assert parse_manifest(raw(body), media_type).manifest.media_type == media_type


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/octet-stream",
        "Application/Octet-Stream; x=y",
        "application/json; charset=utf-8",
    ],
)
@pytest.mark.parametrize("media_type", mt.MANIFEST_TYPES)
def test_without_a_specific_content_type_the_documents_media_type_counts(
    content_type: str | None, media_type: str
) -> None:
    document = index(media_type) if media_type in mt.INDEX_TYPES else image(media_type)
    assert parse_manifest(raw(document), content_type).manifest.media_type == media_type


@pytest.mark.parametrize(
    "content_type",
    [f"{mt.OCI_MANIFEST}; charset=utf-8", f" {mt.OCI_MANIFEST} ;x", mt.OCI_MANIFEST.upper()],
)
def test_parameters_and_letter_case_of_the_content_type_do_not_matter(content_type: str) -> None:
    assert parse_manifest(raw(image()), content_type).manifest.media_type == mt.OCI_MANIFEST


@pytest.mark.parametrize(
    ("content_type", "document"),
    [
        (mt.DOCKER_SCHEMA1, {"schemaVersion": 1}),
        (mt.DOCKER_SCHEMA1_SIGNED, {"schemaVersion": 1, "fsLayers": []}),
        (None, {"schemaVersion": 1, "fsLayers": [], "history": []}),
        (mt.OCTET_STREAM, {"schemaVersion": 1, "mediaType": mt.DOCKER_SCHEMA1_SIGNED}),
    ],
)
def test_the_refusal_of_schema_1_names_it(content_type: str | None, document: dict[str, Any]) -> None:
    with pytest.raises(SourceUnsupported, match="schema 1") as refusal:
        parse_manifest(raw(document), content_type)
    assert "vnd.docker.distribution.manifest.v1" in refusal.value.members["media_type"]


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "text/csv; charset=utf-8",
        "application/vnd.oci.artifact.manifest.v1+json",
        f"{mt.OCI_MANIFEST}, {mt.OCI_MANIFEST}",
        f"{mt.OCI_MANIFEST}x",
        "\x00",
        "é",
    ],
)
def test_other_media_types_are_refused_by_name_regardless_of_the_body(content_type: str) -> None:
    with pytest.raises(SourceUnsupported) as refusal:
        parse_manifest(raw(image()), content_type)
    assert refusal.value.members["media_type"].isprintable()
    assert refusal.value.members["media_type"] in refusal.value.detail


GENERIC = sorted(mt.GENERIC_TYPES)


@pytest.mark.parametrize("content_type", [None, *GENERIC])
def test_a_document_without_any_media_type_is_recognised_by_its_shape(content_type: str | None) -> None:
    """image-spec manifest.md, `mediaType`: only OCI lets a manifest leave it out."""
    untyped = raw(without(image(), "mediaType"))
    assert parse_manifest(untyped, content_type).manifest.media_type == mt.OCI_MANIFEST
    untyped = raw(without(index(), "mediaType"))
    assert parse_manifest(untyped, content_type).manifest.media_type == mt.OCI_INDEX


@pytest.mark.parametrize("document", [{"schemaVersion": 2}, {"schemaVersion": 2, "layers": []}])
def test_a_document_without_a_type_and_without_a_known_shape_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(SourceUnsupported, match="media type"):
        parse_manifest(raw(document), None)


def test_a_document_of_two_shapes_is_refused() -> None:
    both = {**without(index(), "mediaType"), "config": image()["config"]}
    with pytest.raises(SourceInvalid, match="member config"):
        parse_manifest(raw(both), None)


@pytest.mark.parametrize("content_type", [None, *GENERIC])
def test_the_type_in_the_descriptor_takes_precedence_over_the_shape(content_type: str | None) -> None:
    untyped = raw(without(image(), "mediaType"))
    found = parse_manifest(untyped, content_type, mt.OCI_MANIFEST)
    assert found.manifest.media_type == mt.OCI_MANIFEST
    with pytest.raises(SourceInvalid, match=r"is listed as .*index.*member config"):
        parse_manifest(untyped, content_type, mt.OCI_INDEX)
    with pytest.raises(
        SourceInvalid, match=r"is listed as .*does not have the mediaType that Docker requires"
    ):
        parse_manifest(untyped, content_type, mt.DOCKER_MANIFEST)
    with pytest.raises(SourceInvalid, match=r'is listed as .*its mediaType is "application/vnd\.docker'):
        parse_manifest(raw(image(mt.DOCKER_MANIFEST)), content_type, mt.OCI_MANIFEST)


def test_a_contradiction_names_the_place_of_the_type() -> None:
    untyped = raw(without(image(), "mediaType"))
    for content_type, document, reason in (
        (mt.DOCKER_MANIFEST, untyped, "was served as .*does not have the mediaType that Docker requires"),
        (mt.OCI_INDEX, untyped, "was served as .*has the member config"),
        (None, raw({**image(), "mediaType": mt.OCI_INDEX}), "says that it is .*has the member config"),
        (None, raw({**json.loads(untyped), "manifests": []}), "has the shape of .*has the member config"),
    ):
        with pytest.raises(SourceInvalid, match=reason):
            parse_manifest(document, content_type)


@pytest.mark.parametrize("described", ["", "application/json", "application/vnd.example", mt.OCI_INDEX])
def test_the_content_type_takes_precedence_over_the_descriptor(described: str) -> None:
    found = parse_manifest(raw(without(image(), "mediaType")), mt.OCI_MANIFEST, described)
    assert found.manifest.media_type == mt.OCI_MANIFEST


def test_members_that_are_not_kept_are_named() -> None:
    listed = {
        **_blob("a", mt.OCI_MANIFEST),
        "platform": {"os": "linux", "architecture": "amd64", "features": ["sse4"], "x": 1},
        "data": "e30=",
        "urls": [],
        "x-own": None,
        "y-own": {},
    }
    found = parse_manifest(raw({**index(), "manifests": [listed], "x-own": 1, "y-own": None}), mt.OCI_INDEX)
    assert isinstance(found, Index)
    assert found.rest == ("x-own",)
    (member,) = found.manifests
    assert member.rest == ("y-own", "platform.x")
    assert (member.data, member.features) == ("e30=", ("sse4",))


@pytest.mark.parametrize("data", [1, ["e30="], {"a": 1}, False])
@pytest.mark.parametrize("features", [1, "sse4", ["sse4", 1], {"a": 1}])
def test_members_of_an_unknown_kind_are_named_and_not_refused(data: object, features: object) -> None:
    listed = {
        **_blob("a", mt.OCI_MANIFEST),
        "platform": {"os": "linux", "architecture": "amd64", "features": features},
        "data": data,
    }
    found = parse_manifest(raw({**index(), "manifests": [listed]}), mt.OCI_INDEX)
    assert isinstance(found, Index)
    (member,) = found.manifests
    assert member.rest == ("data", "platform.features")
    assert (member.data, member.features) == (None, ())


@pytest.mark.parametrize(
    ("changes", "kind", "has_platform"),
    [
        ({}, None, True),
        ({"artifactType": "application/vnd.example"}, "application/vnd.example", True),
        (
            {
                "config": {"mediaType": mt.OCI_EMPTY, "digest": EMPTY, "size": 2},
                "artifactType": "application/x",
            },
            "application/x",
            False,
        ),
        ({"config": {"mediaType": mt.OCI_EMPTY, "digest": EMPTY, "size": 2}}, mt.OCI_EMPTY, False),
        ({"config": {"mediaType": mt.WASM_CONFIG, "digest": EMPTY, "size": 2}}, mt.WASM_CONFIG, True),
    ],
)
def test_an_artifact_has_a_kind_and_perhaps_a_platform(
    changes: dict[str, Any], kind: str | None, has_platform: bool
) -> None:
    found = _image(image(**changes))
    assert (found.kind, found.has_platform) == (kind, has_platform)


def test_the_refusal_of_a_contradictory_media_type_names_both() -> None:
    with pytest.raises(SourceInvalid) as refusal:
        parse_manifest(raw(image(mt.DOCKER_MANIFEST)), mt.OCI_MANIFEST)
    assert mt.DOCKER_MANIFEST in refusal.value.detail
    assert mt.OCI_MANIFEST in refusal.value.detail


def _blob(letter: str, media_type: str = "application/vnd.oci.image.layer.v1.tar+gzip") -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{letter * 64}", "size": 1}


def test_blobs_are_the_config_followed_by_each_distinct_layer() -> None:
    parsed = _image(image(layers=[_blob("b"), _blob("a"), _blob("b")]))
    assert [str(blob.digest)[:8] for blob in parsed.blobs] == ["sha256:4", "sha256:b", "sha256:a"]
    assert parsed.copyable_blobs == parsed.blobs
    assert len(parsed.layers) == 3


def test_the_first_of_two_descriptors_of_a_blob_counts() -> None:
    parsed = _image(image(layers=[_blob("a", "application/one"), _blob("a", "application/two")]))
    assert parsed.blobs[1:] == parsed.layers[:1]


@pytest.mark.parametrize("media_type", sorted(mt.FOREIGN_LAYER_TYPES))
def test_foreign_layers_are_blobs_that_are_not_copied(media_type: str) -> None:
    urls = {"urls": ["https://elsewhere.example/x"]}
    parsed = _image(image(layers=[_blob("a", media_type) | urls, _blob("b")]))
    assert [blob.digest.hex[0] for blob in parsed.blobs] == ["4", "a", "b"]
    assert [blob.digest.hex[0] for blob in parsed.copyable_blobs] == ["4", "b"]
    assert parsed.layers[0].urls == ("https://elsewhere.example/x",)
    assert mt.is_foreign_layer(media_type)


@pytest.mark.parametrize("media_type", sorted(mt.FOREIGN_LAYER_TYPES))
def test_a_foreign_layer_without_urls_is_copied(media_type: str) -> None:
    parsed = _image(image(layers=[_blob("a", media_type)]))
    assert parsed.copyable_blobs == parsed.blobs


def test_a_blob_that_is_foreign_in_one_place_only_is_copied() -> None:
    urls = {"urls": ["https://elsewhere.example/x"]}
    parsed = _image(image(layers=[_blob("a", mt.DOCKER_FOREIGN_LAYER) | urls, _blob("a")]))
    assert [blob.digest.hex[0] for blob in parsed.copyable_blobs] == ["4", "a"]


@pytest.mark.parametrize(
    "changes",
    [
        {"artifactType": "application/vnd.example"},
        {"config": {"mediaType": mt.OCI_EMPTY, "digest": EMPTY, "size": 2}},
        {"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": EMPTY, "size": 2}},
        {"config": {"mediaType": mt.OCTET_STREAM, "digest": EMPTY, "size": 2}},
    ],
)
def test_artifacts_are_recognised(changes: dict[str, Any]) -> None:
    assert _image(image(**changes)).is_artifact


@pytest.mark.parametrize("config_type", sorted(mt.LEGACY_CONFIG_TYPES))
def test_old_docker_images_with_a_vague_config_type_are_images(config_type: str) -> None:
    config = {"mediaType": config_type, "digest": EMPTY, "size": 2}
    assert not _image(image(mt.DOCKER_MANIFEST, config=config), mt.DOCKER_MANIFEST).is_artifact


def test_an_image_of_in_toto_statements_is_an_attestation() -> None:
    """See "Image attestation storage" on docs.docker.com."""
    layer = _blob("a", mt.IN_TOTO) | {
        "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}
    }
    parsed = _image(image(layers=[layer]))
    assert parsed.is_attestation
    assert not parsed.is_artifact


def test_an_attestation_may_be_an_artifact_with_a_subject() -> None:
    parsed = _image(
        image(
            artifactType=mt.BUILDKIT_ATTESTATION,
            config={"mediaType": mt.OCI_EMPTY, "digest": EMPTY, "size": 2, "data": "e30="},
            layers=[_blob("a", mt.IN_TOTO)],
            subject={"mediaType": mt.OCI_MANIFEST, "digest": OTHER, "size": 7},
        )
    )
    assert parsed.is_attestation
    assert parsed.is_artifact
    assert parsed.subject is not None
    assert parsed.subject.digest == parse_digest(OTHER)


def test_an_ordinary_image_is_not_an_attestation() -> None:
    assert not _image(image()).is_attestation
    assert not _image(image(layers=[])).is_attestation


def test_other_members_of_an_index_are_kept() -> None:
    annotated = index()["manifests"][0] | {"annotations": {"k": "v"}, "artifactType": "a/b"}
    parsed = _index(
        index(
            annotations={"x": "y"},
            artifactType="application/vnd.example",
            subject={"mediaType": mt.OCI_INDEX, "digest": EMPTY, "size": 0},
            manifests=[annotated],
        )
    )
    assert (parsed.annotations, parsed.artifact_type) == ({"x": "y"}, "application/vnd.example")
    assert parsed.subject is not None
    assert (parsed.manifests[0].annotations, parsed.manifests[0].artifact_type) == ({"k": "v"}, "a/b")


def test_a_null_optional_member_counts_as_absent() -> None:
    parsed = _image(image() | dict.fromkeys(("annotations", "subject", "artifactType", "layers")))
    assert (parsed.annotations, parsed.subject, parsed.artifact_type, parsed.layers) == ({}, None, None, ())
    child = index()["manifests"][0] | dict.fromkeys(("annotations", "urls", "platform", "artifactType"))
    read = _index(index(manifests=[child])).manifests[0]
    assert (read.annotations, read.urls, read.platform, read.artifact_type) == ({}, (), None, None)


def test_the_largest_documents_allowed_are_read() -> None:
    assert len(_image(image(layers=image()["layers"] * 512)).layers) == 512
    full = index()["manifests"][0] | {
        "platform": {"os": "windows", "architecture": "amd64", "os.features": ["win32k"], "os.version": "10"},
        "annotations": {f"org.example.key-{number}": "v" for number in range(20)},
    }
    assert len(_index(index(manifests=[full] * 1024)).manifests) == 1024


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    [
        "schemaVersion",
        "mediaType",
        "config",
        "layers",
        "manifests",
        "fsLayers",
        "subject",
        "annotations",
        "Layers",
    ]
)


@given(
    document=st.sampled_from([image(), index(), image(mt.DOCKER_MANIFEST), index(mt.DOCKER_LIST)]),
    changes=st.dictionaries(keys, anything, max_size=3),
    content_type=st.sampled_from([None, *mt.MANIFEST_TYPES, mt.OCTET_STREAM, mt.DOCKER_SCHEMA1])
    | st.text(max_size=9),
)
def test_changed_documents_are_read_or_refused(
    document: dict[str, Any], changes: dict[str, Any], content_type: str | None
) -> None:
    check_read_or_refused(raw({**document, **changes}), content_type)


@given(
    where=st.sampled_from(["config", "layers", "manifests", "subject"]),
    changes=st.dictionaries(
        st.sampled_from(
            ["mediaType", "digest", "size", "urls", "annotations", "platform", "artifactType", "data"]
        ),
        anything,
        min_size=1,
        max_size=3,
    ),
)
def test_changed_descriptors_are_read_or_refused(where: str, changes: dict[str, Any]) -> None:
    document = index() if where == "manifests" else image()
    honest = document["layers" if where == "subject" else where]
    descriptor = (honest[0] if isinstance(honest, list) else honest) | changes
    changed = {**document, where: [descriptor] if where in {"layers", "manifests"} else descriptor}
    check_read_or_refused(raw(changed), document["mediaType"])


@given(st.binary(max_size=100), st.sampled_from([None, *mt.MANIFEST_TYPES]))
def test_any_bytes_are_read_or_refused(body: bytes, content_type: str | None) -> None:
    check_read_or_refused(body, content_type)


def check_read_or_refused(body: bytes, content_type: str | None) -> None:
    try:
        parsed = parse_manifest(body, content_type)
    except SourceUnusable:
        return
    assert parsed.manifest.raw == body
    assert parsed.manifest.digest.matches(body)
