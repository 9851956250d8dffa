"""What cosign keeps under tags comes along with images, and with an index that is an exact copy."""

from __future__ import annotations

import pytest

from app.oci.manifest import Manifest
from app.registry.push.model import CopyTarget, ReferrerAction
from app.registry.push.push import dry_run
from tests.support.images import Content, Image, make_image, make_index, make_referrer, plant
from tests.support.registry import OtherBody, RegistryDouble, Rules, Status
from tests.support.registry_clients import INSECURE, child_at, connect, push_one, repository_at

IMAGE = make_image(media="oci", seed="signed by cosign")
INDEX = make_index([IMAGE], media="oci")
KINDS = ("sig", "att", "sbom")


def tag_of(subject: Content, kind: str = "sig") -> str:
    return f"{subject.digest.replace(':', '-')}.{kind}"


def signature(seed: str) -> Image:
    return make_image(media="oci", seed=f"signature {seed}", layers=1)


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
