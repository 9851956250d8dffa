"""Content management: deleting tags, manifests and blobs, on the double and on the real registry."""

from __future__ import annotations

from tests.conformance.peer import Peer, codes
from tests.support.images import digest_of, make_image, make_image_for, make_index

IMAGE = make_image(media="oci", seed="managed")


async def delete(peer: Peer, reference: str) -> tuple[int, list[str]]:
    reply = await peer.client.delete(f"{peer.root}/manifests/{reference}")
    return reply.status_code, codes(reply) if reply.content else []


async def test_deleting_a_manifest_takes_its_tags_with_it(peer: Peer) -> None:
    await peer.push("one", IMAGE)
    await peer.push("two", IMAGE)
    assert await delete(peer, IMAGE.digest) == (202, [])
    for reference in ("one", "two", IMAGE.digest):
        assert (await peer.manifest(reference, "HEAD")).status_code == 404


async def test_deleting_a_tag_leaves_the_manifest_and_its_other_tags(peer: Peer) -> None:
    """2.8.2 deletes by digest only, and says of a tag that it is not a digest."""
    await peer.push("one", IMAGE)
    await peer.push("two", IMAGE)
    status, refused = await delete(peer, "one")
    if not peer.is_double:
        assert (status, refused) == (400, ["DIGEST_INVALID"])
        return
    assert (status, refused) == (202, [])
    assert (await peer.manifest("one")).status_code == 404
    assert (await peer.manifest("two")).content == IMAGE.raw
    assert (await peer.manifest(IMAGE.digest)).content == IMAGE.raw


async def test_deleting_an_index_leaves_its_children(peer: Peer) -> None:
    children = [make_image_for("linux/amd64"), make_image_for("linux/arm64")]
    index = make_index(children)
    await peer.push("index", index)
    assert await delete(peer, index.digest) == (202, [])
    for child in children:
        assert (await peer.manifest(child.digest)).content == child.raw


async def test_a_missing_manifest_can_not_be_deleted(peer: Peer) -> None:
    await peer.push("there", IMAGE)
    assert await delete(peer, digest_of(b"no manifest")) == (404, ["MANIFEST_UNKNOWN"])
    status, refused = await delete(peer, "missing")
    expected = (404, ["MANIFEST_UNKNOWN"]) if peer.is_double else (400, ["DIGEST_INVALID"])
    assert (status, refused) == expected


async def test_a_deleted_blob_is_gone_and_can_be_pushed_again(peer: Peer) -> None:
    digest = await peer.push_blob(b"short-lived")
    assert (await peer.blob(digest, "DELETE")).status_code == 202
    gone = await peer.blob(digest)
    assert (gone.status_code, codes(gone)) == (404, ["BLOB_UNKNOWN"])
    await peer.push_blob(b"short-lived")
    assert (await peer.blob(digest)).content == b"short-lived"


async def test_a_missing_blob_can_not_be_deleted(peer: Peer) -> None:
    await peer.push_blob(b"there")
    reply = await peer.blob(digest_of(b"not there"), "DELETE")
    assert (reply.status_code, codes(reply)) == (404, ["BLOB_UNKNOWN"])


async def test_an_index_put_after_its_child_was_deleted_is_refused(peer: Peer) -> None:
    index = make_index([IMAGE])
    await peer.push("index", index)
    await delete(peer, IMAGE.digest)
    reply = await peer.put_manifest("again", index.raw, index.media_type)
    assert (reply.status_code, codes(reply)) == (400, ["MANIFEST_BLOB_UNKNOWN"])


async def test_an_unknown_method_is_not_allowed(peer: Peer) -> None:
    assert (await peer.client.post(f"{peer.root}/manifests/any")).status_code == 405
