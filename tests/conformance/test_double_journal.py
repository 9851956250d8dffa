"""The journal records every request in order, and every tag that moves to an incomplete index."""

from __future__ import annotations

import asyncio
import socket

import httpx2
import pytest

from tests.conformance.peer import Peer, codes, location
from tests.support.images import (
    digest_of,
    make_buildx_index,
    make_image,
    make_image_for,
    make_index,
    plant,
    walk,
)
from tests.support.plain_http import plain_client
from tests.support.registry import Hold, RegistryDouble

IMAGE = make_image(media="oci", seed="journal")
INDEX = make_index([make_image_for("linux/amd64"), make_image_for("linux/arm64")])


async def test_every_request_is_kept_with_its_body(registry: RegistryDouble, wire: Peer) -> None:
    await wire.tags(n=3, last="x")
    await wire.post(b"body", digest=digest_of(b"other"))
    tags, post = registry.journal
    assert (tags.method, tags.path, tags.status) == ("GET", f"{wire.root}/tags/list", 404)
    assert dict(tags.query) == {"n": "3", "last": "x"}
    assert tags.target == f"{wire.root}/tags/list?n=3&last=x"
    assert tags.port == registry.port
    assert (post.method, post.status) == ("POST", 400)
    assert (post.body_size, post.body_digest) == (4, digest_of(b"body"))
    assert post.headers["host"] == registry.host
    assert str(post).startswith("POST /v2/")


async def test_the_journal_keeps_the_order_of_arrival_and_counts_concurrent_requests(
    registry: RegistryDouble, wire: Peer
) -> None:
    hold = Hold()
    registry.misbehave(hold, path="/first/")
    first = asyncio.create_task(wire.client.get("/v2/first/tags/list"))
    await hold.reached.wait()
    await wire.client.get("/v2/second/tags/list")
    hold.gate.set()
    await first
    assert [each.path for each in registry.journal] == ["/v2/first/tags/list", "/v2/second/tags/list"]
    assert registry.log.peak_in_flight == 2
    assert registry.log.in_flight == 0


async def test_requests_are_found_by_method_and_path(registry: RegistryDouble, wire: Peer) -> None:
    await wire.push("v1", IMAGE)
    assert len(registry.received("POST", "/blobs/uploads/")) == len(IMAGE.blobs)
    assert [each.path for each in registry.received("PUT", "/manifests/")] == [f"{wire.root}/manifests/v1"]
    registry.forget()
    assert registry.journal == []


async def test_a_complete_push_leaves_no_partial_tag(registry: RegistryDouble, wire: Peer) -> None:
    await wire.push("v1", INDEX)
    await wire.push("buildx", make_buildx_index())
    assert [put.tag for put in registry.tag_puts] == ["v1", "buildx"]
    assert all(put.accepted for put in registry.tag_puts)
    assert registry.partial_tag_puts == []


async def test_a_tag_put_before_its_children_is_reported_although_it_is_refused(
    registry: RegistryDouble, wire: Peer
) -> None:
    reply = await wire.put_manifest("early", INDEX.raw, INDEX.media_type)
    assert codes(reply) == ["MANIFEST_BLOB_UNKNOWN"] * 2
    (put,) = registry.partial_tag_puts
    assert (put.tag, put.accepted) == ("early", False)
    assert set(put.missing) == {child.digest for child in INDEX.children}


async def test_a_lenient_double_accepts_an_incomplete_index_and_reports_it(
    registry: RegistryDouble, wire: Peer
) -> None:
    registry.rules.require_children = False
    assert (await wire.put_manifest("early", INDEX.raw, INDEX.media_type)).status_code == 201
    assert [(put.tag, put.accepted) for put in registry.partial_tag_puts] == [("early", True)]


async def test_a_blob_missing_two_levels_down_makes_a_tag_partial(
    registry: RegistryDouble, wire: Peer
) -> None:
    plant(registry, wire.repository, None, INDEX)
    child = next(walk(INDEX))
    lost = next(iter(child.blobs))
    assert (await wire.blob(lost, "DELETE")).status_code == 202
    assert (await wire.put_manifest("deep", INDEX.raw, INDEX.media_type)).status_code == 201
    assert [put.missing for put in registry.partial_tag_puts] == [(lost,)]


async def test_a_put_by_digest_is_no_tag_put(registry: RegistryDouble, wire: Peer) -> None:
    await wire.put_manifest(INDEX.digest, INDEX.raw, INDEX.media_type)
    assert registry.tag_puts == []


async def test_foreign_layers_do_not_count_as_missing(registry: RegistryDouble, wire: Peer) -> None:
    await wire.push("windows", make_image(os="windows", foreign_layers=2))
    assert registry.partial_tag_puts == []


async def test_an_immutable_tag_is_refused_even_for_the_same_digest(
    registry: RegistryDouble, wire: Peer
) -> None:
    registry.rules.immutable_tags = True
    await wire.push("v1", IMAGE)
    reply = await wire.put_manifest("v1", IMAGE.raw, IMAGE.media_type)
    assert (reply.status_code, codes(reply)) == (400, ["TAG_INVALID"])
    assert (await wire.put_manifest(IMAGE.digest, IMAGE.raw, IMAGE.media_type)).status_code == 201


async def test_the_size_of_a_chunk_may_be_limited(registry: RegistryDouble, wire: Peer) -> None:
    registry.rules.max_chunk = 10
    blob = b"eleven byte"
    where = await wire.begin()
    assert (await wire.finish(where, digest_of(blob), blob)).status_code == 413
    first = await wire.patch(where, blob[:10], 0)
    assert (await wire.finish(location(first), digest_of(blob), blob[10:], 10)).status_code == 201


async def test_accept_may_be_required(registry: RegistryDouble, wire: Peer) -> None:
    plant(registry, wire.repository, "v1", IMAGE)
    registry.rules.require_accept = True
    assert (await wire.client.get(f"{wire.root}/manifests/v1")).status_code == 404
    assert (await wire.manifest("v1")).content == IMAGE.raw


async def test_planted_content_is_served_and_not_journalled(registry: RegistryDouble, wire: Peer) -> None:
    digest = registry.add_manifest(wire.repository, "odd", b"anything", "application/x-odd")
    assert registry.journal == []
    assert registry.get_manifest(wire.repository, "odd") == ("application/x-odd", b"anything")
    reply = await wire.manifest("odd")
    assert (reply.content, reply.headers["Content-Type"]) == (b"anything", "application/x-odd")
    assert reply.headers["Docker-Content-Digest"] == digest
    with pytest.raises(KeyError):
        registry.get_manifest(wire.repository, "none")


async def test_the_range_of_a_broken_upload_counts_its_bytes(registry: RegistryDouble, wire: Peer) -> None:
    where = await wire.begin()
    head = f"PATCH {where.raw_path.decode()} HTTP/1.1\r\nHost: {registry.host}\r\nContent-Length: 100\r\n\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", registry.port)
    writer.write(head.encode() + b"x" * 40)
    await writer.drain()
    await registry.until(lambda: sum(each.body_size for each in registry.received("PATCH")) == 40)
    writer.close()
    await writer.wait_closed()
    await registry.until(lambda: registry.log.in_flight == 0)
    assert registry.received("PATCH")[0].status is None
    status = await wire.client.get(where)
    assert status.headers["Range"] == "0-39"


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
async def test_both_loopbacks_are_served_at_one_port(registry: RegistryDouble) -> None:
    async with plain_client() as client:
        try:
            reply = await client.get(f"http://[::1]:{registry.port}/v2/")
        except httpx2.ConnectError:
            pytest.skip("this machine has no ::1, or the port is taken there")
    assert reply.status_code == 200
    assert registry.journal[0].headers["Host"] == f"[::1]:{registry.port}"


async def test_invalid_names_and_paths_are_refused(wire: Peer) -> None:
    upper = await wire.client.get("/v2/UPPER/manifests/v1")
    assert (upper.status_code, codes(upper)) == (400, ["NAME_INVALID"])
    assert (await wire.client.get("/v2/app/else/v1")).status_code == 404
    assert (await wire.client.get("/elsewhere")).status_code == 404
