"""The tag of referrers, their descriptors, and the index that lists them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest, digest_of, parse_digest
from app.oci.manifest import Index, parse_manifest
from app.oci.reference import parse_tag
from app.oci.referrers import NO_REFERRERS, describe_referrer, merge_referrers, referrers_tag
from tests.support.images import OCI_INDEX, OCI_MANIFEST, make_image, make_index, make_referrer

IMAGE = make_image(media="oci")
TYPE = "application/vnd.example.signature.v1"
texts = st.text(max_size=8)
descriptors = st.builds(
    Descriptor,
    st.just(OCI_MANIFEST),
    st.integers(0, 30).map(lambda n: digest_of(str(n).encode())),
    st.integers(0, 9999),
    annotations=st.dictionaries(
        st.text(min_size=1, max_size=4, alphabet="abc.é\U0001f40b"), st.text("xyz<é", max_size=4), max_size=2
    ),
    artifact_type=st.sampled_from([None, TYPE]),
)


def listed(raw: bytes) -> tuple[Descriptor, ...]:
    parsed = parse_manifest(raw, OCI_INDEX)
    assert isinstance(parsed, Index)
    return parsed.manifests


@pytest.mark.parametrize(("algorithm", "length"), [("sha256", 64), ("sha512", 128)])
def test_the_tag_is_the_truncated_digest(algorithm: str, length: int) -> None:
    tag = referrers_tag(Digest(algorithm, "0123456789abcdef" * (length // 16)))
    assert tag == f"{algorithm}-{'0123456789abcdef' * 4}"
    assert parse_tag(tag) == tag


def test_the_descriptor_of_a_referrer_has_its_type_and_annotations() -> None:
    made = make_referrer(IMAGE, annotations={"a": "b"})
    digest = parse_digest(made.digest)
    described = describe_referrer(parse_manifest(made.raw, made.media_type), digest)
    assert described == Descriptor(
        OCI_MANIFEST, digest, len(made.raw), annotations={"a": "b"}, artifact_type=TYPE
    )


def test_a_referrer_without_an_artifact_type_has_that_of_its_config() -> None:
    made = make_referrer(IMAGE, artifact_type=None)
    described = describe_referrer(parse_manifest(made.raw, made.media_type), parse_digest(made.digest))
    assert described.artifact_type == "application/vnd.oci.empty.v1+json"


def test_an_index_with_a_subject_and_without_an_artifact_type_has_none() -> None:
    made = make_index([IMAGE], extra={"subject": IMAGE.descriptor()})
    described = describe_referrer(parse_manifest(made.raw, made.media_type), parse_digest(made.digest))
    assert described.artifact_type is None


@given(st.lists(descriptors), st.lists(descriptors, unique_by=lambda each: each.digest))
def test_a_descriptor_is_added_once_and_adding_it_again_changes_nothing(
    before: list[Descriptor], added: list[Descriptor]
) -> None:
    distinct = {each.digest: each for each in before}
    first = merge_referrers(NO_REFERRERS, list(distinct.values())) or NO_REFERRERS
    merged = merge_referrers(first, added) or first
    found = listed(merged)
    assert {each.digest: each for each in found}.items() >= {each.digest: each for each in added}.items()
    assert len(found) == len({each.digest for each in [*before, *added]})
    assert merge_referrers(merged, added) is None
    kept = [each for each in listed(first) if each.digest not in {new.digest for new in added}]
    assert [each for each in found if each in kept] == kept


def test_everything_that_other_clients_wrote_stays_unchanged() -> None:
    other = {**IMAGE.descriptor(), "data": "e30=", "org.example": {"x": [1.5, None]}}
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [other],
            "annotations": {"by": "é"},
            "more": 2,
        }
    ).encode()
    added = Descriptor(OCI_MANIFEST, digest_of(b"new"), 3)
    merged = merge_referrers(raw, [added])
    assert merged is not None
    assert json.loads(merged) == {**json.loads(raw), "manifests": [other, added.document()]}


def test_a_different_descriptor_of_the_same_manifest_is_replaced() -> None:
    digest = digest_of(b"x")
    old = Descriptor(OCI_MANIFEST, digest, 3)
    new = Descriptor(OCI_MANIFEST, digest, 3, artifact_type=TYPE)
    raw = merge_referrers(NO_REFERRERS, [old])
    assert raw is not None
    merged = merge_referrers(raw, [new])
    assert merged is not None
    assert listed(merged) == (new,)


@pytest.mark.parametrize(
    "raw", [b"[]", b'{"manifests": {}}', b'{"manifests": [1]}', b"{", b'{"manifests": [{}]}']
)
def test_an_invalid_index_is_refused(raw: bytes) -> None:
    with pytest.raises(errors.SourceInvalid):
        merge_referrers(raw, [Descriptor(OCI_MANIFEST, digest_of(b"x"), 1)])
