"""Pushing manifests: what the double and the real registry accept and refuse."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.conformance.peer import Peer, codes, location
from tests.support.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Image,
    ImageIndex,
    digest_of,
    make_image,
    make_image_for,
    make_index,
)

IMAGE = make_image(media="oci", seed="push")
DOCKER_IMAGE = make_image(media="docker", seed="push")


@pytest.mark.parametrize("by_digest", [False, True], ids=["by tag", "by digest"])
async def test_the_answer_to_a_put_manifest_has_its_location(peer: Peer, *, by_digest: bool) -> None:
    await peer.push(None, IMAGE)
    reply = await peer.put_manifest(IMAGE.digest if by_digest else "put", IMAGE.raw, IMAGE.media_type)
    assert reply.status_code == 201
    assert reply.headers["Docker-Content-Digest"] == IMAGE.digest
    assert location(reply).path == f"{peer.root}/manifests/{IMAGE.digest}"


async def test_a_tag_moves_with_the_next_put(peer: Peer) -> None:
    newer = make_image(media="oci", seed="newer")
    await peer.push("moving", IMAGE)
    await peer.push("moving", newer)
    assert (await peer.manifest("moving")).content == newer.raw
    assert (await peer.manifest(IMAGE.digest)).content == IMAGE.raw


async def test_parameters_of_the_content_type_are_ignored(peer: Peer) -> None:
    await peer.push(None, IMAGE)
    reply = await peer.put_manifest("typed", IMAGE.raw, f"{IMAGE.media_type}; charset=utf-8")
    assert reply.status_code == 201
    assert (await peer.manifest("typed")).headers["Content-Type"] == IMAGE.media_type


@pytest.mark.parametrize("content", [IMAGE, DOCKER_IMAGE], ids=["oci", "docker"])
async def test_an_image_whose_blobs_are_missing_is_refused_naming_each(peer: Peer, content: Image) -> None:
    reply = await peer.put_manifest("hollow", content.raw, content.media_type)
    assert reply.status_code == 400
    assert codes(reply) == ["MANIFEST_BLOB_UNKNOWN"] * len(content.blobs)
    assert {each["detail"] for each in reply.json()["errors"]} == set(content.blobs)
    assert (await peer.manifest("hollow")).status_code == 404


@pytest.mark.parametrize("media", ["oci", "docker"])
async def test_an_index_whose_children_are_missing_is_refused_naming_each(peer: Peer, media: str) -> None:
    present, absent = make_image_for("linux/amd64"), make_image_for("linux/arm64")
    await peer.push(None, present)
    index = make_index([present, absent], media="oci" if media == "oci" else "docker")
    reply = await peer.put_manifest("sparse", index.raw, index.media_type)
    assert reply.status_code == 400
    assert codes(reply) == ["MANIFEST_BLOB_UNKNOWN"]
    assert reply.json()["errors"][0]["detail"] == absent.digest


async def test_a_child_in_another_repository_is_missing_here(peer: Peer) -> None:
    await peer.elsewhere().push(None, IMAGE)
    index = make_index([IMAGE])
    reply = await peer.put_manifest("sparse", index.raw, index.media_type)
    assert codes(reply) == ["MANIFEST_BLOB_UNKNOWN"]


async def test_a_manifest_under_a_digest_that_is_not_its_own_is_refused(peer: Peer) -> None:
    await peer.push(None, IMAGE)
    reply = await peer.put_manifest(IMAGE.digest, IMAGE.raw + b"  ", IMAGE.media_type)
    assert (reply.status_code, codes(reply)) == (400, ["DIGEST_INVALID"])


MISMATCHES = [
    (IMAGE, DOCKER_MANIFEST),
    (IMAGE, OCI_INDEX),
    (DOCKER_IMAGE, OCI_MANIFEST),
    (make_index([]), DOCKER_LIST),
    (make_index([], media="docker"), OCI_INDEX),
    (IMAGE, "application/octet-stream"),
    (IMAGE, "text/html"),
]


@pytest.mark.parametrize(("content", "media_type"), MISMATCHES)
async def test_a_content_type_that_differs_from_the_body_is_refused(
    peer: Peer, content: Image | ImageIndex, media_type: str
) -> None:
    if isinstance(content, Image):
        await peer.push(None, content)
    reply = await peer.put_manifest("mistyped", content.raw, media_type)
    assert (reply.status_code, codes(reply)) == (400, ["MANIFEST_INVALID"])


@pytest.mark.parametrize("content", [IMAGE, make_index([])], ids=["image", "index"])
async def test_an_oci_body_may_leave_its_media_type_out(peer: Peer, content: Image | ImageIndex) -> None:
    await peer.push(None, content)
    document = json.loads(content.raw)
    del document["mediaType"]
    raw = json.dumps(document).encode()
    assert (await peer.put_manifest("untyped", raw, content.media_type)).status_code == 201
    assert (await peer.manifest("untyped")).headers["Content-Type"] == content.media_type


BODIES = {
    "broken": b"{nope",
    "empty": b"",
    "list": b"[]",
    "text": b'"text"',
}


@pytest.mark.parametrize("raw", BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_is_not_a_manifest_is_refused(peer: Peer, raw: bytes) -> None:
    reply = await peer.put_manifest("garbage", raw, OCI_MANIFEST)
    assert (reply.status_code, codes(reply)) == (400, ["MANIFEST_INVALID"])


@pytest.mark.parametrize("missing", ["schemaVersion", "config"])
async def test_an_image_without_its_required_members_is_refused(peer: Peer, missing: str) -> None:
    """2.8.2 fails over a missing version, and takes a missing config for an empty digest."""
    await peer.push(None, IMAGE)
    document = json.loads(IMAGE.raw)
    del document[missing]
    reply = await peer.put_manifest("lacking", json.dumps(document).encode(), IMAGE.media_type)
    real = {"schemaVersion": (500, ["UNKNOWN"]), "config": (400, ["DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"])}
    expected = (400, ["MANIFEST_INVALID"]) if peer.is_double else real[missing]
    assert (reply.status_code, codes(reply)) == expected


async def test_a_hybrid_of_image_and_index_is_refused(peer: Peer) -> None:
    """CVE-2021-41190: two readers would see two different things."""
    await peer.push(None, IMAGE)
    both = {**json.loads(IMAGE.raw), "manifests": []}
    reply = await peer.put_manifest("both", json.dumps(both).encode(), IMAGE.media_type)
    assert (reply.status_code, codes(reply)) == (400, ["MANIFEST_INVALID"])


async def test_a_manifest_over_four_mebibytes_is_refused(peer: Peer) -> None:
    """413 by the spec; 2.8.2 says 400 and that the body is too large."""
    huge = make_image(media="oci", extra={"annotations": {"huge": "x" * (4 * 1024 * 1024)}})
    await peer.push(None, make_image(media="oci"))
    reply = await peer.put_manifest("huge", huge.raw, huge.media_type)
    assert reply.status_code == (413 if peer.is_double else 400)
    assert codes(reply) == ["SIZE_INVALID" if peer.is_double else "MANIFEST_INVALID"]


@pytest.mark.parametrize("tag", ["-bad", ".bad", "b" * 129])
async def test_an_invalid_tag_is_refused(peer: Peer, tag: str) -> None:
    """2.8.2 has no route for it and says 404."""
    await peer.push(None, IMAGE)
    reply = await peer.put_manifest(tag, IMAGE.raw, IMAGE.media_type)
    assert reply.status_code == (400 if peer.is_double else 404)


async def test_a_manifest_may_be_put_by_its_sha512(peer: Peer) -> None:
    """2.8.2 knows manifests by sha256 only."""
    await peer.push(None, IMAGE)
    digest = "sha512:" + hashlib.sha512(IMAGE.raw).hexdigest()
    reply = await peer.put_manifest(digest, IMAGE.raw, IMAGE.media_type)
    if peer.is_double:
        assert (reply.status_code, reply.headers["Docker-Content-Digest"]) == (201, digest)
        assert (await peer.manifest(digest)).content == IMAGE.raw
    else:
        assert (reply.status_code, codes(reply)) == (400, ["DIGEST_INVALID"])


async def test_a_subject_is_acknowledged_by_a_registry_that_has_referrers(peer: Peer) -> None:
    """No OCI-Subject, as from 2.8.2, tells the client to keep the referrers tag itself."""
    subject = {"mediaType": OCI_MANIFEST, "size": 3, "digest": digest_of(b"any")}
    content = make_image(media="oci", seed="subject", extra={"subject": subject})
    await peer.push(None, content)
    reply = await peer.put_manifest("about", content.raw, content.media_type)
    assert reply.status_code == 201
    assert reply.headers.get("OCI-Subject") == (subject["digest"] if peer.is_double else None)
