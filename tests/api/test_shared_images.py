"""One image that stands for several platforms."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.images import Image, ImageIndex, make_attestation, make_image_for, make_index
from tests.support.planted_images import plant_image
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]

# The platforms that one image is for, as callers and as indexes name them.
SHARED: list[list[Json]] = [
    [{"os": "linux", "architecture": name} for name in ("amd64", "arm64", "s390x")],
    [{"os": "linux", "architecture": "arm", "variant": name} for name in ("v6", "v7")],
    [{"os": name, "architecture": "amd64"} for name in ("linux", "windows", "freebsd")],
    [
        {"os": "windows", "architecture": "amd64", "os.version": version}
        for version in ("10.0.17763.5820", "10.0.20348.2461", "10.0.26100.1")
    ],
]
SHARES = pytest.mark.parametrize("shared", SHARED)


def said(platform: Json) -> Json:
    return {name.replace(".", "_"): value for name, value in platform.items()}


def known(platform: Json) -> list[tuple[str, Any]]:
    return sorted((name, value) for name, value in platform.items() if value)


def listed(draft: Json) -> list[list[tuple[str, Any]]]:
    return sorted(known(each["descriptor"]["platform"]) for each in draft["entries"])


def wanted(platforms: list[Json]) -> list[list[tuple[str, Any]]]:
    return sorted(known(platform) for platform in platforms)


def published(registry: RegistryDouble, tag: str = "1") -> list[list[tuple[str, Any]]]:
    _, raw = registry.get_manifest("app", tag)
    return sorted(known(each["platform"]) for each in json.loads(raw)["manifests"])


def index_of(image: Image, platforms: list[Json]) -> ImageIndex:
    return make_index([replace(image, platform=platform) for platform in platforms])


@SHARES
async def test_an_index_that_lists_one_image_for_several_platforms_keeps_all(
    broker: Broker, registry: RegistryDouble, shared: list[Json]
) -> None:
    image = make_image_for("linux/amd64")
    source = plant_image(registry, "java", index_of(image, shared))
    draft = await broker.create(f"{registry.host}/app:1", source)
    assert listed(draft) == wanted(shared)
    again = await broker.create(f"{registry.host}/app:1", source, amend=True)
    assert (again["revision"], again["entries"]) == (draft["revision"], draft["entries"])
    planned = await broker.call("POST", f"/v1/lists/{draft['id']}/plan", {"insecure": True})
    assert planned["digest"] == draft["digest"]
    pushed = await broker.push(draft["id"])
    assert published(registry) == wanted(shared)
    await broker.call("POST", f"/v1/pushes/{pushed['id']}/restore", {"insecure": True})
    assert published(registry) == wanted(shared)


@SHARES
async def test_sources_of_one_reference_with_several_platforms_keep_all(
    broker: Broker, registry: RegistryDouble, shared: list[Json]
) -> None:
    name = plant_image(registry, "script", make_image_for("linux/amd64"))
    sources = [{"reference": name, "platform": said(platform)} for platform in shared]
    draft = await broker.create(f"{registry.host}/app:1", *sources)
    assert listed(draft) == wanted(shared)
    await broker.push(draft["id"])
    assert published(registry) == wanted(shared)
    body = {"sources": sources[:1], "insecure": True}
    again = await broker.call("POST", f"/v1/lists/{draft['id']}/entries", body)
    assert again["entries"] == draft["entries"]
    fewer = await broker.call("DELETE", f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}")
    assert fewer["entries"] == draft["entries"][1:]


async def test_legs_that_share_one_image_complete_a_list_in_any_order(
    broker: Broker, registry: RegistryDouble
) -> None:
    name = plant_image(registry, "script", make_image_for("linux/amd64"))
    expected = ["linux/amd64", "linux/arm64", "linux/s390x"]
    digests = set()
    for run, order in enumerate(permutations(expected)):
        leg: Json = {"amend": True, "session": f"run-{run}", "expected_platforms": expected}
        for platform in order:
            source = {"reference": name, "platform": platform}
            draft = await broker.create(f"{registry.host}/app:1", source, **leg)
        assert draft["complete"], draft["missing_platforms"]
        digests.add(draft["digest"])
    assert len(digests) == 1
    leg["session"] = "at-once"
    sources = [{"reference": name, "platform": platform} for platform in expected]
    await asyncio.gather(*(broker.create(f"{registry.host}/app:1", each, **leg) for each in sources))
    found = await broker.call("GET", "/v1/lists?session=at-once")
    assert [each["digest"] for each in found["items"]] == list(digests)


@SHARES
async def test_a_refresh_renews_every_place_of_an_image(
    broker: Broker, registry: RegistryDouble, shared: list[Json]
) -> None:
    name = plant_image(registry, "script", make_image_for("linux/amd64"))
    java = plant_image(registry, "java", index_of(make_image_for("linux/386"), shared))
    sources = [{"reference": name, "platform": said(platform)} for platform in shared]
    for tag, given in (("1", sources), ("2", [java])):
        draft = await broker.create(f"{registry.host}/app:{tag}", *given)
        ids = {each["id"] for each in draft["entries"]}
        plant_image(registry, "script", make_image_for("linux/amd64", seed=tag))
        plant_image(registry, "java", index_of(make_image_for("linux/386", seed=tag), shared))
        after = await broker.call("POST", f"/v1/lists/{draft['id']}/refresh", {"insecure": True})
        assert listed(after) == wanted(shared)
        assert {each["id"] for each in after["entries"]} == ids
        assert {each["entry_id"] for each in after["refreshed"]} == ids
        assert all(each["old_digest"] != each["new_digest"] for each in after["refreshed"])
        assert len({each["descriptor"]["digest"] for each in after["entries"]}) == 1


async def test_annotating_one_place_leaves_the_others(broker: Broker, registry: RegistryDouble) -> None:
    image = make_image_for("linux/amd64")
    index = make_index(
        [*index_of(image, SHARED[0]).children, make_attestation(image)],
    )
    source = plant_image(registry, "java", index)
    draft = await broker.create(f"{registry.host}/app:1", source)
    first, *others, attestation = sorted(
        draft["entries"], key=lambda each: (each["platform"]["os"], each["platform"]["architecture"])
    )
    assert attestation["platform"]["os"] == "unknown"
    path = f"/v1/lists/{draft['id']}/entries/{first['id']}"
    annotated = await broker.call("PATCH", path, {"annotations": {"a": "b"}})
    assert [each["id"] for each in annotated["entries"] if each["annotations"].get("a")] == [first["id"]]
    removed = await broker.call("DELETE", path)
    assert {each["id"] for each in removed["entries"]} == {each["id"] for each in [*others, attestation]}


# --- an image in the place of another leg's ---


async def codes(broker: Broker, list_id: str) -> list[str]:
    found = await broker.call("GET", f"/v1/lists/{list_id}")
    return [each["code"] for each in found["findings"]]


async def test_an_image_that_replaces_another_legs_image_is_a_finding_from_then_on(
    broker: Broker, registry: RegistryDouble
) -> None:
    leg: Json = {"amend": True, "session": "run", "expected_platforms": ["linux/amd64", "linux/arm64"]}
    right, wrong = (make_image_for("linux/amd64", seed=name) for name in ("right", "wrong"))
    right_name, wrong_name = (
        f"{plant_image(registry, 'legs', each)[:-2]}@{each.digest}" for each in (right, wrong)
    )
    draft = await broker.create(f"{registry.host}/app:1", right_name, **leg)
    assert draft["findings"] == []
    replaced = await broker.create(f"{registry.host}/app:1", wrong_name, **leg)
    (finding,) = replaced["findings"]
    assert (finding["code"], finding["severity"]) == ("image-replaced", "warning")
    assert finding["entry_id"] == replaced["entries"][0]["id"]
    assert right.digest in finding["detail"]
    assert wrong.digest in finding["detail"]
    arm64 = plant_image(registry, "arm64", make_image_for("linux/arm64"))
    later = await broker.create(f"{registry.host}/app:1", arm64, **leg)
    assert [each["code"] for each in later["findings"]] == ["image-replaced"]
    assert await codes(broker, draft["id"]) == ["image-replaced"]


async def test_an_image_that_moves_under_its_name_is_no_finding(
    broker: Broker, registry: RegistryDouble
) -> None:
    for session, make in (
        ("image", lambda seed: make_image_for("linux/amd64", seed=seed)),
        ("index", lambda seed: make_index([make_image_for("linux/amd64", seed=seed)])),
    ):
        for seed in ("old", "new"):
            name = plant_image(registry, session, make(seed))
            draft = await broker.create(f"{registry.host}/app:1", name, amend=True, session=session)
        assert draft["entries"][0]["replaced"] is not None
        assert draft["findings"] == []


async def test_without_a_session_a_replacement_is_no_finding(
    broker: Broker, registry: RegistryDouble
) -> None:
    for name in ("a", "b"):
        source = plant_image(registry, name, make_image_for("linux/amd64", seed=name))
        draft = await broker.create(f"{registry.host}/app:1", source, amend=True)
    assert draft["findings"] == []


@pytest.mark.parametrize("of_index", [False, True])
@pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm/v7", "windows/amd64", "linux/amd64/v3"])
async def test_a_leg_that_means_another_platform_is_refused_by_name(
    broker: Broker, registry: RegistryDouble, platform: str, *, of_index: bool
) -> None:
    image = make_image_for("linux/amd64")
    source = plant_image(registry, "leg", make_index([image, make_attestation(image)]) if of_index else image)
    good: Json = {"reference": source, "platforms": ["linux/amd64"]}
    draft = await broker.create(f"{registry.host}/app:1", good, amend=True, session="run")
    wrong = await broker.create(
        f"{registry.host}/app:1", {**good, "platforms": [platform]}, amend=True, session="run", status=422
    )
    assert wrong["type"].endswith(":platform-not-in-source")
    assert wrong["errors"][0]["pointer"] == "/sources/0/platforms"
    assert "linux/amd64" in wrong["detail"]
    assert platform in wrong["detail"]
    assert (await broker.call("GET", f"/v1/lists/{draft['id']}"))["entries"] == draft["entries"]
