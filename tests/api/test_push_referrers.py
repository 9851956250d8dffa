"""Referrers are copied on request, and an index with a subject is a referrer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.images import make_image, make_index, make_referrer, plant
from tests.support.planted_images import plant_image
from tests.support.registry import RegistryDouble, Rules

pytestmark = pytest.mark.slow

Json = dict[str, Any]
IMAGE = make_image(media="oci", seed="signed")
SIGNATURE = make_referrer(IMAGE, seed="signature")


@pytest.fixture
async def source(registry: RegistryDouble) -> str:
    reference = plant_image(registry, "signed", IMAGE)
    plant(registry, "signed", SIGNATURE.digest, SIGNATURE)
    return reference


async def test_signatures_are_copied_with_the_option_referrers(
    broker: Broker, registry: RegistryDouble, source: str
) -> None:
    draft = await broker.create(f"{registry.host}/app:1", source, referrers=True)
    planned = await broker.call("POST", f"/v1/lists/{draft['id']}/plan", {"insecure": True})
    pushed = await broker.push(draft["id"])
    (reported,) = pushed["targets"][0]["referrers"]
    assert (reported["digest"], reported["subject"], reported["action"]) == (
        SIGNATURE.digest,
        IMAGE.digest,
        "put",
    )
    assert planned["targets"][0]["referrers"] == [reported]
    assert registry.get_manifest("app", SIGNATURE.digest)


async def test_signatures_are_not_copied_by_default(
    broker: Broker, registry: RegistryDouble, source: str
) -> None:
    draft = await broker.create(f"{registry.host}/app:1", source)
    assert (await broker.push(draft["id"]))["targets"][0]["referrers"] == []
    assert SIGNATURE.digest not in registry.content.at("app").manifests
    asked = await broker.push(draft["id"], referrers=True)
    assert [each["action"] for each in asked["targets"][0]["referrers"]] == ["put"]


@pytest.mark.parametrize("has_api", [True, False])
async def test_an_index_with_a_subject_is_listed_by_the_referrers_api(broker: Broker, has_api: bool) -> None:
    async with RegistryDouble(rules=Rules(referrers_api=has_api)) as registry:
        plant(registry, "app", "base", IMAGE)
        draft = await broker.create(
            f"{registry.host}/app:1",
            plant_image(registry, "signed", IMAGE),
            subject={"mediaType": IMAGE.media_type, "digest": IMAGE.digest, "size": len(IMAGE.raw)},
            artifact_type="application/vnd.example.bundle",
        )
        await broker.push(draft["id"])
        tag = IMAGE.digest.replace(":", "-")
        assert (tag in registry.tags("app")) is not has_api
        if not has_api:
            raw = registry.get_manifest("app", tag)[1]
            assert draft["digest"].encode() in raw
            assert b"application/vnd.example.bundle" in raw


async def test_what_is_left_behind_is_a_finding_of_the_plan_and_the_push(
    broker: Broker, registry: RegistryDouble, source: str
) -> None:
    tag = IMAGE.digest.replace(":", "-")
    for repository, kind, seed in (("signed", "sig", "1"), ("signed", "att", "2"), ("app", "att", "3")):
        plant(registry, repository, f"{tag}.{kind}", make_image(media="oci", seed=seed))
    draft = await broker.create(f"{registry.host}/app:1", source, referrers=True)
    planned = await broker.call("POST", f"/v1/lists/{draft['id']}/plan", {"insecure": True})
    pushed = await broker.push(draft["id"])
    copied = {each["tag"]: each["action"] for each in pushed["targets"][0]["referrers"]}
    assert copied == {None: "put", f"{tag}.sig": "put"}
    (finding,) = pushed["findings"]
    assert (finding["code"], finding["severity"]) == ("referrer-left", "warning")
    assert f"{registry.host}/signed:{tag}.att" in finding["detail"]
    assert planned["findings"] == [finding]
    assert (await broker.call("GET", f"/v1/pushes/{pushed['id']}"))["findings"] == [finding]


async def test_the_signatures_of_an_index_that_is_not_copied_are_a_finding(
    broker: Broker, registry: RegistryDouble
) -> None:
    index = make_index([IMAGE])
    source = plant_image(registry, "signed", index)
    tag = f"{index.digest.replace(':', '-')}.sig"
    plant(registry, "signed", tag, make_image(media="oci", seed="signature of the index"))
    further = plant_image(registry, "further", make_image(architecture="arm64", media="oci"))
    draft = await broker.create(f"{registry.host}/app:1", source, further, referrers=True)
    planned = await broker.call("POST", f"/v1/lists/{draft['id']}/plan", {"insecure": True})
    pushed = await broker.push(draft["id"])
    (finding,) = pushed["findings"]
    assert finding["code"] == "referrer-left"
    assert f"{registry.host}/signed:{tag}" in finding["detail"]
    assert index.digest in finding["detail"]
    assert planned["findings"] == [finding]
    assert tag not in registry.tags("app")
    plain = await broker.push(draft["id"], referrers=False, targets=[f"{registry.host}/other:1"])
    assert {each["code"] for each in plain["findings"]} == {"referrer-left"}
    await broker.call("PATCH", f"/v1/lists/{draft['id']}", {"referrers": False})
    assert (await broker.push(draft["id"]))["findings"] == []
