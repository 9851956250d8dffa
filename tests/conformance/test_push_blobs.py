"""Pushing blobs in every way that the distribution-spec knows, on the double and on the real registry."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest

from tests.conformance.peer import OCTETS, Peer, codes, location
from tests.support.images import digest_of

BLOB = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(64))
DIGEST = digest_of(BLOB)
THIRDS = (BLOB[:700], BLOB[700:1400], BLOB[1400:])


async def has_blob(peer: Peer, digest: str = DIGEST, data: bytes = BLOB) -> bool:
    reply = await peer.blob(digest)
    return reply.status_code == 200 and reply.content == data


async def test_a_blob_is_pushed_by_post_then_put(peer: Peer) -> None:
    reply = await peer.finish(await peer.begin(), DIGEST, BLOB)
    assert reply.status_code == 201
    assert location(reply).path == f"{peer.root}/blobs/{DIGEST}"
    assert await has_blob(peer)


async def test_a_single_post_pushes_a_blob_or_opens_an_upload(peer: Peer) -> None:
    """A registry without the single POST answers 202 (end-4b); 2.8.2 is one."""
    reply = await peer.post(BLOB, digest=DIGEST)
    assert reply.status_code == (201 if peer.is_double else 202)
    if reply.status_code == 202:
        reply = await peer.finish(location(reply), DIGEST, BLOB)
    assert await has_blob(peer)


async def test_a_blob_is_streamed_without_a_length(peer: Peer) -> None:
    async def body() -> AsyncIterator[bytes]:
        for third in THIRDS:
            yield third

    patched = await peer.client.patch(await peer.begin(), content=body(), headers=OCTETS)
    assert patched.status_code == 202
    assert (await peer.finish(location(patched), DIGEST)).status_code == 201
    assert await has_blob(peer)


@pytest.mark.parametrize("last_by_put", [False, True], ids=["PATCH only", "the last chunk with the PUT"])
async def test_a_blob_is_pushed_in_chunks(peer: Peer, *, last_by_put: bool) -> None:
    where, sent = await peer.begin(), 0
    for third in THIRDS[:2] if last_by_put else THIRDS:
        reply = await peer.patch(where, third, sent)
        sent += len(third)
        assert reply.status_code == 202
        assert reply.headers["Range"] == f"0-{sent - 1}"
        where = location(reply)
    rest = BLOB[sent:]
    done = await peer.finish(where, DIGEST, rest, sent if rest else None)
    assert done.status_code == 201
    assert await has_blob(peer)


async def test_a_chunk_out_of_order_is_refused_and_the_status_gives_the_next_offset(peer: Peer) -> None:
    """2.8.2 doesn't read Content-Range: it appends whatever comes, and only the digest tells."""
    first = await peer.patch(await peer.begin(), THIRDS[0], 0)
    skipped = await peer.patch(location(first), THIRDS[2], 1400)
    if not peer.is_double:
        assert skipped.status_code == 202
        done = await peer.finish(location(skipped), DIGEST)
        assert (done.status_code, codes(done)) == (400, ["DIGEST_INVALID"])
        return
    assert skipped.status_code == 416
    status = await peer.client.get(location(skipped))
    assert (status.status_code, status.headers["Range"]) == (204, "0-699")
    rest = await peer.finish(location(status), DIGEST, BLOB[700:], 700)
    assert rest.status_code == 201
    assert await has_blob(peer)


async def test_the_status_of_an_upload_counts_the_bytes_received(peer: Peer) -> None:
    patched = await peer.patch(await peer.begin(), THIRDS[0], 0)
    status = await peer.client.get(location(patched))
    assert status.status_code == 204
    assert status.headers["Range"] == "0-699"
    done = await peer.finish(location(status), DIGEST, BLOB[700:])
    assert done.status_code == 201


async def test_an_upload_can_be_cancelled(peer: Peer) -> None:
    where = await peer.begin()
    assert (await peer.client.delete(where)).status_code == 204
    assert (await peer.client.get(where)).status_code == 404
    assert not await has_blob(peer)


async def test_the_location_of_an_upload_has_to_be_used_with_its_query(peer: Peer) -> None:
    where = await peer.begin()
    reply = await peer.finish(where.copy_with(query=None), DIGEST, BLOB)
    assert (reply.status_code, codes(reply)) == (404, ["BLOB_UPLOAD_INVALID"])


async def test_each_reply_of_an_upload_replaces_the_location_before(peer: Peer) -> None:
    where = await peer.begin()
    patched = await peer.patch(where, THIRDS[0])
    assert (await peer.patch(where, THIRDS[1])).status_code == 404
    assert location(patched) != where


@pytest.mark.parametrize("way", ["put", "patch", "post"])
async def test_a_blob_with_another_digest_is_refused(peer: Peer, way: str) -> None:
    wrong = BLOB + b"oh no"
    if way == "post":
        reply = await peer.post(wrong, digest=DIGEST)
        if reply.status_code == 202:
            reply = await peer.finish(location(reply), DIGEST, wrong)
    elif way == "patch":
        patched = await peer.patch(await peer.begin(), wrong, 0)
        reply = await peer.finish(location(patched), DIGEST)
    else:
        reply = await peer.finish(await peer.begin(), DIGEST, wrong)
    assert (reply.status_code, codes(reply)) == (400, ["DIGEST_INVALID"])
    assert not await has_blob(peer)


async def test_an_upload_does_not_end_without_a_digest(peer: Peer) -> None:
    reply = await peer.client.put(await peer.begin(), content=BLOB, headers=OCTETS)
    assert (reply.status_code, codes(reply)) == (400, ["DIGEST_INVALID"])


async def test_a_blob_may_be_pushed_by_its_sha512(peer: Peer) -> None:
    """2.8.2 takes it and calls it by its sha256 from then on, but still answers to the other name."""
    digest = "sha512:" + hashlib.sha512(BLOB).hexdigest()
    reply = await peer.finish(await peer.begin(), digest, BLOB)
    assert reply.status_code == 201
    assert reply.headers["Docker-Content-Digest"] == (digest if peer.is_double else DIGEST)
    assert await has_blob(peer, digest)


async def test_a_blob_is_mounted_from_another_repository(peer: Peer) -> None:
    source = peer.elsewhere()
    await source.push_blob(BLOB)
    reply = await peer.post(mount=DIGEST, **{"from": source.repository})
    assert reply.status_code == 201
    assert location(reply).path == f"{peer.root}/blobs/{DIGEST}"
    assert await has_blob(peer)


async def test_a_mount_of_a_missing_blob_opens_an_upload(peer: Peer) -> None:
    reply = await peer.post(mount=DIGEST, **{"from": peer.elsewhere().repository})
    assert reply.status_code == 202
    assert (await peer.finish(location(reply), DIGEST, BLOB)).status_code == 201
    assert await has_blob(peer)


async def test_a_mount_may_omit_its_source(peer: Peer) -> None:
    """The registry may find the blob itself, or open an upload, as 2.8.2 does (end-11)."""
    blob = peer.repository.encode()
    await peer.elsewhere().push_blob(blob)
    reply = await peer.post(mount=digest_of(blob))
    assert reply.status_code == (201 if peer.is_double else 202)


async def test_pushing_a_blob_again_changes_nothing(peer: Peer) -> None:
    assert await peer.push_blob(BLOB) == await peer.push_blob(BLOB)
    assert await has_blob(peer)
