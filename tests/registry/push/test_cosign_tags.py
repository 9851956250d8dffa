"""What cosign keeps under tags comes along with images, and with an index that is an exact copy."""

from __future__ import annotations

import json

import pytest

from app.oci.digest import parse_digest
from app.oci.manifest import Manifest
from app.registry.push.model import CopyTarget, ReferrerAction
from app.registry.push.push import dry_run
from tests.support.images import (
    Content,
    Image,
    assemble,
    digest_of,
    make_image,
    make_index,
    make_referrer,
    plant,
)
from tests.support.registry import OtherBody, RegistryDouble, Rules, Status
from tests.support.registry_clients import INSECURE, child_at, connect, push_one, repository_at

IMAGE = make_image(media="oci", seed="signed by cosign")
INDEX = make_index([IMAGE], media="oci")
PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
KINDS = ("sig", "att", "sbom")


def tag_of(subject: Content, kind: str = "sig") -> str:
    return f"{subject.digest.replace(':', '-')}.{kind}"


def signature(seed: str) -> Image:
    return make_image(media="oci", seed=f"signature {seed}", layers=1)


def signed(*contents: str, key: str = "") -> Image:
    """What cosign keeps for one signature or several."""
    layers = tuple(f"{content} by {key}".encode() for content in contents)
    listed = [
        {"mediaType": PAYLOAD, "size": len(layer), "digest": digest_of(layer), "annotations": {"by": key}}
        for layer in layers
    ]
    diff_ids = [digest_of(layer) for layer in layers]
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
    return assemble("oci", config=config, layers=layers, listed=listed, platform={})


def layers_at(registry: RegistryDouble, path: str, tag: str) -> list[str]:
    document = json.loads(registry.get_manifest(path, tag)[1])
    return [each["digest"] for each in document["layers"]]


def goal(registry: RegistryDouble, path: str = "app") -> CopyTarget:
    return CopyTarget(repository_at(registry, path), ("1",), Manifest.of(INDEX.media_type, INDEX.raw))


@pytest.mark.parametrize("has_api", [True, False])
@pytest.mark.parametrize("subject", [IMAGE, INDEX], ids=["image", "exact index"])
@pytest.mark.parametrize("crosses", [True, False], ids=["to another registry", "within a registry"])
async def test_signatures_attestations_and_sboms_come_along(
    has_api: bool, subject: Content, crosses: bool
) -> None:
    async with (
        RegistryDouble(rules=Rules(referrers_api=has_api)) as registry,
        RegistryDouble() as other,
        connect() as client,
    ):
        source = other if crosses else registry
        plant(source, "src", "1", INDEX)
        for kind in KINDS:
            plant(source, "src", tag_of(subject, kind), signature(kind))
        children = [child_at(source, "src", IMAGE)]
        (planned,) = await dry_run(client, [goal(registry)], children, INSECURE, with_referrers=True)
        assert list(registry.tags("app")) == []
        result = await push_one(client, goal(registry), children, INSECURE, with_referrers=True)
        expected = {tag_of(subject, kind): signature(kind).digest for kind in KINDS}
        assert registry.tags("app") == {"1": INDEX.digest, **expected}
        for kind in KINDS:
            assert set(signature(kind).blobs) <= registry.blobs("app")
        assert {each.tag: str(each.digest) for each in result.referrers} == expected
        assert planned.referrers == result.referrers
        again = await push_one(client, goal(registry), children, INSECURE, with_referrers=True)
        assert {each.action for each in again.referrers} == {ReferrerAction.PRESENT}


async def test_nothing_comes_along_unless_that_was_asked_for(registry: RegistryDouble) -> None:
    plant(registry, "src", tag_of(IMAGE), signature("1"))
    plant(registry, "src", "1", IMAGE)
    async with connect() as client:
        await push_one(client, goal(registry), [child_at(registry, "src", IMAGE)], INSECURE)
    assert list(registry.tags("app")) == ["1"]


async def test_referrers_of_an_exact_index_come_along(registry: RegistryDouble) -> None:
    referrer = make_referrer(INDEX, seed="of the index")
    plant(registry, "src", "1", INDEX)
    plant(registry, "src", None, referrer)
    async with connect() as client:
        children = [child_at(registry, "src", IMAGE)]
        result = await push_one(client, goal(registry), children, INSECURE, with_referrers=True)
    assert [(str(each.subject), str(each.digest)) for each in result.referrers] == [
        (INDEX.digest, referrer.digest)
    ]


async def test_a_tag_of_an_index_that_is_not_copied_stays(registry: RegistryDouble) -> None:
    other = make_index([IMAGE, make_image(architecture="arm64", media="oci")], media="oci")
    plant(registry, "src", "1", other)
    plant(registry, "src", tag_of(other), signature("1"))
    async with connect() as client:
        children = [child_at(registry, "src", IMAGE)]
        await push_one(client, goal(registry), children, INSECURE, with_referrers=True)
    assert list(registry.tags("app")) == ["1"]


async def test_other_signatures_at_the_target_stay_and_that_is_said(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", IMAGE)
    plant(registry, "src", tag_of(IMAGE), signature("here"))
    plant(registry, "app", tag_of(IMAGE), signature("there"))
    async with connect() as client:
        children = [child_at(registry, "src", IMAGE)]
        result = await push_one(client, goal(registry), children, INSECURE, with_referrers=True)
    assert registry.tags("app")[tag_of(IMAGE)] == signature("there").digest
    assert [str(each.reference) for each in result.left_behind] == [f"{registry.host}/src:{tag_of(IMAGE)}"]


@pytest.mark.parametrize(
    "fault",
    [OtherBody(b"{}"), OtherBody(b"no JSON"), Status.oci(403, "DENIED")],
    ids=["empty", "text", "403"],
)
async def test_what_can_not_be_read_is_left_and_that_is_said(
    registry: RegistryDouble, fault: OtherBody | Status
) -> None:
    plant(registry, "src", "1", IMAGE)
    plant(registry, "src", tag_of(IMAGE), signature("1"))
    registry.misbehave(fault, method="GET", path=f"/src/manifests/{tag_of(IMAGE)}$", times=None)
    async with connect() as client:
        children = [child_at(registry, "src", IMAGE)]
        result = await push_one(client, goal(registry), children, INSECURE, with_referrers=True)
    assert len(result.left_behind) == 1
    assert list(registry.tags("app")) == ["1"]


MIXED = {
    "both have some": (signed("a"), signed("b"), "put", ["b", "a"]),
    "both have the same and more": (signed("a", "b"), signed("b", "c"), "put", ["b", "c", "a"]),
    "the target has more": (signed("a"), signed("a", "b"), "present", ["a", "b"]),
    "the source has more": (signed("a", "b"), signed("a"), "put", ["a", "b"]),
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("crosses", [True, False], ids=["to another registry", "within a registry"])
async def test_signatures_of_source_and_target_end_up_together(name: str, crosses: bool) -> None:
    here, there, action, contents = MIXED[name]
    tag = tag_of(IMAGE)
    async with RegistryDouble() as registry, RegistryDouble() as other, connect() as client:
        source = other if crosses else registry
        plant(source, "src", "1", IMAGE)
        plant(source, "src", tag, here)
        plant(registry, "app", tag, there)
        children = [child_at(source, "src", IMAGE)]
        (planned,) = await dry_run(client, [goal(registry)], children, INSECURE, with_referrers=True)
        assert registry.tags("app")[tag] == there.digest
        result = await push_one(client, goal(registry), children, INSECURE, with_referrers=True)
        wanted = [digest_of(f"{content} by ".encode()) for content in contents]
        assert layers_at(registry, "app", tag) == wanted
        assert set(wanted) <= registry.blobs("app")
        config = json.loads(registry.get_manifest("app", tag)[1])["config"]["digest"]
        assert config in registry.blobs("app")
        (outcome,) = result.referrers
        assert (outcome.action, str(outcome.digest)) == (action, registry.tags("app")[tag])
        assert planned.referrers == result.referrers
        assert not result.left_behind
        again = await push_one(client, goal(registry), children, INSECURE, with_referrers=True)
        assert [each.action for each in again.referrers] == [ReferrerAction.PRESENT]
        assert layers_at(registry, "app", tag) == wanted


@pytest.mark.parametrize(
    "fault", [OtherBody(b"[]"), Status.oci(404, "BLOB_UNKNOWN")], ids=["no object", "missing"]
)
async def test_signatures_whose_config_can_not_be_read_are_left(
    registry: RegistryDouble, fault: OtherBody | Status
) -> None:
    plant(registry, "src", "1", IMAGE)
    plant(registry, "src", tag_of(IMAGE), signed("a"))
    plant(registry, "app", tag_of(IMAGE), signed("b"))
    registry.misbehave(fault, method="GET", path="/app/blobs/", times=None)
    async with connect() as client:
        children = [child_at(registry, "src", IMAGE)]
        result = await push_one(client, goal(registry), children, INSECURE, with_referrers=True)
    assert registry.tags("app")[tag_of(IMAGE)] == signed("b").digest
    assert len(result.left_behind) == 1


@pytest.mark.parametrize("there", [signed("b"), signed("a")], ids=["other signatures", "fewer signatures"])
async def test_a_tag_that_can_not_be_changed_stays_and_the_push_goes_on(
    registry: RegistryDouble, there: Image
) -> None:
    plant(registry, "src", "1", IMAGE)
    plant(registry, "src", tag_of(IMAGE), signed("a", "c"))
    plant(registry, "app", tag_of(IMAGE), there)
    immutable = Status.oci(409, "TAG_INVALID", "the tag is immutable")
    registry.misbehave(immutable, method="PUT", path=f"/app/manifests/{tag_of(IMAGE)}$", times=None)
    async with connect() as client:
        children = [child_at(registry, "src", IMAGE)]
        result = await push_one(client, goal(registry), children, INSECURE, with_referrers=True)
    assert registry.tags("app") == {"1": INDEX.digest, tag_of(IMAGE): there.digest}
    assert [str(each.reference) for each in result.left_behind] == [f"{registry.host}/src:{tag_of(IMAGE)}"]


async def test_what_refers_to_signatures_and_referrers_comes_along(registry: RegistryDouble) -> None:
    sbom, of_sbom = signature("sbom"), signature("of the SBOM")
    referrer = make_referrer(IMAGE, seed="referrer")
    plant(registry, "src", "1", IMAGE)
    plant(registry, "src", tag_of(IMAGE, "sbom"), sbom)
    plant(registry, "src", tag_of(sbom), of_sbom)
    plant(registry, "src", None, referrer)
    plant(registry, "src", tag_of(referrer), signature("of the referrer"))
    async with connect() as client:
        children = [child_at(registry, "src", IMAGE)]
        await push_one(client, goal(registry), children, INSECURE, with_referrers=True)
    assert registry.tags("app").keys() == {"1", tag_of(IMAGE, "sbom"), tag_of(sbom), tag_of(referrer)}


async def test_what_refers_to_a_source_index_that_is_not_copied_is_told(registry: RegistryDouble) -> None:
    other = make_index([IMAGE, make_image(architecture="arm64", media="oci")], media="oci")
    referrer = make_referrer(other, seed="of the index")
    async with connect() as client:
        plant(registry, "src", "1", other)
        plant(registry, "src", tag_of(other), signature("1"))
        plant(registry, "src", None, referrer)
        children = [child_at(registry, "src", IMAGE)]
        origin = repository_at(registry, "src").at(parse_digest(other.digest))
        (planned,) = await dry_run(
            client, [goal(registry)], children, INSECURE, with_referrers=True, origins=[origin]
        )
        result = await push_one(
            client, goal(registry), children, INSECURE, with_referrers=True, origins=[origin]
        )
        assert {str(each.reference) for each in result.left_behind} == {
            f"{registry.host}/src@{referrer.digest}",
            f"{registry.host}/src:{tag_of(other)}",
        }
        assert planned.left_behind == result.left_behind
        assert all(str(origin) in each.reason for each in result.left_behind)
        assert list(registry.tags("app")) == ["1"]
        here = await push_one(
            client, goal(registry, "src"), children, INSECURE, with_referrers=True, origins=[origin]
        )
        assert not here.left_behind
