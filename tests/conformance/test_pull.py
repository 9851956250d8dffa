"""Pulling, as the distribution-spec's conformance suite asks, on the double and on the real registry."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from tests.conformance.datasets import MAKERS, DataSet
from tests.conformance.peer import Peer, codes
from tests.support.images import digest_of, make_image, walk

NOWHERE = "sha256:" + "0" * 64
BLOB = bytes(range(256)) * 8


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def dataset(request: pytest.FixtureRequest) -> DataSet:
    maker: Callable[[], DataSet] = request.param
    return maker()


async def test_the_base_answers_and_names_the_version_of_the_api(peer: Peer) -> None:
    reply = await peer.client.get("/v2/")
    assert reply.status_code == 200
    assert reply.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


async def test_a_pushed_manifest_is_pulled_by_tag_and_by_digest_byte_for_byte(
    peer: Peer, dataset: DataSet
) -> None:
    for tag, content in dataset.contents:
        digest = await peer.push(tag, content)
        for reference in filter(None, (tag, digest)):
            reply = await peer.manifest(reference)
            assert reply.status_code == 200
            assert reply.content == content.raw
            assert reply.headers["Content-Type"] == content.media_type
            assert reply.headers["Docker-Content-Digest"] == digest


async def test_every_child_and_blob_of_a_pushed_index_is_there(peer: Peer, dataset: DataSet) -> None:
    for tag, content in dataset.contents:
        await peer.push(tag, content)
        for part in walk(content):
            assert (await peer.manifest(part.digest)).content == part.raw
            for digest, data in part.blobs.items():
                assert (await peer.blob(digest)).content == data


async def test_head_of_a_manifest_has_the_headers_of_get(peer: Peer, dataset: DataSet) -> None:
    for tag, content in dataset.contents:
        digest = await peer.push(tag, content)
        reply = await peer.manifest(tag or digest, "HEAD")
        assert reply.status_code == 200
        assert reply.content == b""
        assert reply.headers["Content-Length"] == str(len(content.raw))
        assert reply.headers["Content-Type"] == content.media_type
        assert reply.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize("reference", ["missing", NOWHERE])
async def test_a_missing_manifest_is_unknown(peer: Peer, reference: str) -> None:
    await peer.push("there", make_image())
    reply = await peer.manifest(reference)
    assert reply.status_code == 404
    assert codes(reply) == ["MANIFEST_UNKNOWN"]
    head = await peer.manifest(reference, "HEAD")
    assert (head.status_code, head.content) == (404, b"")


async def test_a_manifest_of_a_missing_repository_is_unknown(peer: Peer) -> None:
    reply = await peer.manifest("any")
    assert reply.status_code == 404
    assert codes(reply)[0] in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN")


async def test_a_manifest_is_pulled_without_an_accept_header(peer: Peer) -> None:
    """2.8.2 refuses OCI manifests to a client that does not name their type in Accept."""
    await peer.push("plain", make_image(media="oci"))
    reply = await peer.client.get(f"{peer.root}/manifests/plain")
    assert reply.status_code == (200 if peer.is_double else 404)


@pytest.mark.parametrize("data", [b"", b"{}", BLOB], ids=["empty", "empty JSON", "2 KiB"])
async def test_a_blob_is_pulled_byte_for_byte(peer: Peer, data: bytes) -> None:
    digest = await peer.push_blob(data)
    reply = await peer.blob(digest)
    assert (reply.status_code, reply.content) == (200, data)
    assert reply.headers["Docker-Content-Digest"] == digest
    head = await peer.blob(digest, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(data))


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, 2047),
        ("bytes=-500", 1548, 2047),
        ("bytes=2000-5000", 2000, 2047),
        ("bytes=0-0", 0, 0),
    ],
)
async def test_a_part_of_a_blob_is_pulled_by_range(peer: Peer, wanted: str, first: int, last: int) -> None:
    digest = await peer.push_blob(BLOB)
    reply = await peer.blob(digest, Range=wanted)
    assert reply.status_code == 206
    assert reply.content == BLOB[first : last + 1]
    assert reply.headers["Content-Range"] == f"bytes {first}-{last}/{len(BLOB)}"


@pytest.mark.parametrize("wanted", ["bytes=5000-10000", "bytes=2048-"])
async def test_a_range_beyond_the_end_is_not_satisfiable(peer: Peer, wanted: str) -> None:
    """2.8.2 says 416 too, but with the length of the whole blob, so that the answer never ends properly."""
    digest = await peer.push_blob(BLOB)
    if peer.is_double:
        assert (await peer.blob(digest, Range=wanted)).status_code == 416
        return
    async with peer.client.stream("GET", f"{peer.root}/blobs/{digest}", headers={"Range": wanted}) as reply:
        assert reply.status_code == 416
        with pytest.raises(httpx2.RemoteProtocolError):
            await reply.aread()


async def test_a_missing_blob_is_unknown(peer: Peer) -> None:
    await peer.push_blob(b"there")
    reply = await peer.blob(NOWHERE)
    assert (reply.status_code, codes(reply)) == (404, ["BLOB_UNKNOWN"])
    assert (await peer.blob(NOWHERE, "HEAD")).status_code == 404


async def test_an_invalid_digest_names_no_blob(peer: Peer) -> None:
    await peer.push_blob(b"there")
    reply = await peer.blob("sha256:xyz")
    assert (reply.status_code, codes(reply)) == (400, ["DIGEST_INVALID"])


async def test_a_repository_does_not_serve_the_blobs_of_another(peer: Peer) -> None:
    digest = await peer.push_blob(b"mine")
    assert (await peer.elsewhere().blob(digest)).status_code == 404


async def test_a_digest_is_that_of_the_body(peer: Peer) -> None:
    content = make_image(media="oci", seed="body")
    await peer.push("body", content)
    reply = await peer.manifest("body")
    assert digest_of(reply.content) == reply.headers["Docker-Content-Digest"]
