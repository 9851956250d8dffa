"""Content discovery: tags and referrers, on the double and on the real registry."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.conformance.datasets import (
    ANNOTATIONS,
    ARTIFACT_TYPE,
    OTHER_ARTIFACT_TYPE,
    artifacts_with_subject,
    index_with_subject,
    missing_subject,
)
from tests.conformance.peer import Peer, codes
from tests.support.images import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    digest_of,
    make_image,
    make_referrer,
    plant,
)
from tests.support.plain_http import plain_client
from tests.support.registry import RegistryDouble

TAGS = ["alpha", "beta", "delta", "gamma"]


@pytest.fixture
async def tagged(peer: Peer) -> Peer:
    """A repository with four tags, not pushed in their order."""
    content = make_image(media="oci")
    await peer.push(None, content)
    for tag in ("gamma", "alpha", "delta", "beta"):
        reply = await peer.put_manifest(tag, content.raw, content.media_type)
        assert reply.status_code == 201
    return peer


async def test_the_tags_of_a_repository_are_listed(tagged: Peer) -> None:
    reply = await tagged.tags()
    assert reply.status_code == 200
    assert reply.json()["name"] == tagged.repository
    assert sorted(reply.json()["tags"]) == TAGS


async def test_tags_come_in_order(tagged: Peer) -> None:
    """2.8.2 lists them as its storage gives them, which is no order a client may rely on."""
    listed = (await tagged.tags()).json()["tags"]
    assert (listed if tagged.is_double else sorted(listed)) == TAGS


@pytest.mark.parametrize(
    ("params", "page", "following"),
    [
        ({"n": 2}, ["alpha", "beta"], "n=2&last=beta"),
        ({"n": 2, "last": "beta"}, ["delta", "gamma"], None),
        ({"n": 4}, TAGS, None),
        ({"n": 100}, TAGS, None),
        ({"n": 0}, [], None),
        ({"last": "aardvark"}, TAGS, None),
        ({"last": "gamma"}, [], None),
    ],
)
async def test_tags_come_in_pages(
    tagged: Peer, params: dict[str, int | str], page: list[str], following: str | None
) -> None:
    """2.8.2 has no pages: it gives all tags, whatever it is asked for, and no Link."""
    reply = await tagged.tags(**params)
    assert reply.status_code == 200
    if not tagged.is_double:
        assert sorted(reply.json()["tags"]) == TAGS
        assert "Link" not in reply.headers
        return
    assert reply.json()["tags"] == page
    link = f'<{tagged.root}/tags/list?{following}>; rel="next"' if following else None
    assert reply.headers.get("Link") == link


async def test_following_the_links_visits_every_tag_once(tagged: Peer) -> None:
    seen, reply = [], await tagged.tags(n=1)
    seen += reply.json()["tags"]
    while "next" in reply.links:
        reply = await tagged.client.get(httpx2.URL(reply.links["next"]["url"]))
        seen += reply.json()["tags"]
    assert sorted(seen) == TAGS


async def test_the_tags_of_a_missing_repository_are_unknown(peer: Peer) -> None:
    reply = await peer.tags()
    assert (reply.status_code, codes(reply)) == (404, ["NAME_UNKNOWN"])


# --- referrers: spec 1.1, which 2.8.2 is older than ---


async def referrers(peer: Peer, digest: str, **params: str) -> list[dict[str, Any]] | None:
    """What refers to the digest; None where the registry has no such API."""
    reply = await peer.referrers(digest, **params)
    if not peer.is_double:
        assert reply.status_code == 404
        return None
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == OCI_INDEX
    assert reply.json()["mediaType"] == OCI_INDEX
    applied = "artifactType" if "artifactType" in params else None
    assert reply.headers.get("OCI-Filters-Applied") == applied
    found: list[dict[str, Any]] = reply.json()["manifests"]
    return found


async def test_a_referrer_is_listed_with_its_type_and_annotations(peer: Peer) -> None:
    contents = artifacts_with_subject().contents
    for tag, content in contents:
        await peer.push(tag, content)
    found = await referrers(peer, contents[0][1].digest)
    if found is not None:
        assert {each["digest"] for each in found} == {content.digest for _, content in contents[1:]}
        assert {each["mediaType"] for each in found} == {OCI_MANIFEST}
        types = {each["artifactType"] for each in found}
        assert types == {ARTIFACT_TYPE, OTHER_ARTIFACT_TYPE, OCI_CONFIG}
        annotated = [each for each in found if each["artifactType"] != OCI_CONFIG]
        assert all(each["annotations"].items() >= ANNOTATIONS.items() for each in annotated)


async def test_referrers_are_filtered_by_artifact_type(peer: Peer) -> None:
    contents = artifacts_with_subject().contents
    for tag, content in contents:
        await peer.push(tag, content)
    found = await referrers(peer, contents[0][1].digest, artifactType=OTHER_ARTIFACT_TYPE)
    if found is not None:
        assert [each["digest"] for each in found] == [contents[-1][1].digest]


async def test_an_index_can_be_subject_and_referrer(peer: Peer) -> None:
    (tag, subject), (other, about) = index_with_subject().contents
    await peer.push(tag, subject)
    await peer.push(other, about)
    found = await referrers(peer, subject.digest)
    if found is not None:
        assert [(each["mediaType"], each["digest"]) for each in found] == [(OCI_INDEX, about.digest)]


async def test_a_subject_need_not_be_there_to_have_referrers(peer: Peer) -> None:
    await peer.push(*missing_subject().main)
    found = await referrers(peer, digest_of(b"missing content"))
    if found is not None:
        assert [each["digest"] for each in found] == [missing_subject().main[1].digest]


async def test_an_unknown_digest_has_no_referrers(peer: Peer) -> None:
    assert await referrers(peer, digest_of(b"nobody")) in ([], None)


async def test_a_deleted_referrer_is_no_longer_listed(peer: Peer) -> None:
    contents = artifacts_with_subject().contents
    for tag, content in contents[:3]:
        await peer.push(tag, content)
    reply = await peer.client.delete(f"{peer.root}/manifests/{contents[2][1].digest}")
    assert reply.status_code == 202
    found = await referrers(peer, contents[0][1].digest)
    if found is not None:
        assert [each["digest"] for each in found] == [contents[1][1].digest]


async def test_following_the_links_visits_every_referrer_once(registry: RegistryDouble) -> None:
    """The real registry has no referrers API at all."""
    registry.rules.referrers_per_page = 2
    subject = make_image(media="oci", seed="subject of many")
    made = [make_referrer(subject, seed=n) for n in range(5)]
    for each in made:
        plant(registry, "paged", None, each)
    seen, pages = [], 0
    async with plain_client(base_url=registry.base_url) as client:
        reply = await client.get(f"/v2/paged/referrers/{subject.digest}")
        while True:
            seen += [each["digest"] for each in reply.json()["manifests"]]
            pages += 1
            if "next" not in reply.links:
                break
            reply = await client.get(reply.links["next"]["url"])
    assert (sorted(seen), pages) == (sorted(each.digest for each in made), 3)
