"""A single source keeps its bytes; a list that is made from it says what it leaves out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.support.broker import Broker, check_problem
from tests.support.images import (
    Content,
    Image,
    ImageIndex,
    make_buildx_index,
    make_image,
    make_image_for,
    make_index,
    plant,
)
from tests.support.planted_images import plant_image
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]
ANNOTATED = {"org.example.channel": "stable", "org.opencontainers.image.version": "1.2"}


class Listed(Image):
    """An image with more in its descriptor than a new list has."""

    def descriptor(self) -> Json:
        document = super().descriptor()
        platform = {**document["platform"], "features": ["sse4"]}
        more = {"urls": ["https://example.com/x"], "data": "e30=", "x-example": {"deep": [1, 2.50]}}
        return {**document, "platform": platform, **more}


def listed(image: Image) -> Listed:
    return Listed(image.media_type, image.raw, image.config, image.layers, image.platform, image.annotations)


def rich_index() -> ImageIndex:
    images = [listed(make_image_for("linux/amd64")), make_image_for("linux/arm64/v8")]
    return make_index(
        images,
        annotations=ANNOTATED,
        extra={
            "artifactType": "application/vnd.example.app",
            "subject": make_image_for("linux/s390x").descriptor(),
            "x-example": "kept",
        },
    )


SOURCES: dict[str, Content] = {
    "an index of buildx": make_buildx_index(),
    "an index with members that a new list does not have": rich_index(),
    "a Docker list": make_index([make_image_for("linux/amd64", media="docker")], media="docker"),
    "an index with one platform twice": make_index(
        [make_image_for("linux/amd64", seed=1), make_image_for("linux/amd64", seed=2)]
    ),
    "an index with one image for several platforms": make_index(
        [
            replace(make_image_for("linux/amd64"), platform={"os": "linux", "architecture": name})
            for name in ("s390x", "amd64", "arm64")
        ]
    ),
    "an index of indexes": make_index(
        [make_buildx_index(("linux/amd64",), seed=3), make_buildx_index(("linux/arm64",), seed=4)]
    ),
    "an index whose images have no platform": make_index(
        [make_image(config=b"{}", os="", architecture="", media="oci")]
    ),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("options", [{}, {"exact": True}], ids=["by default", "exact"])
async def test_a_single_index_keeps_its_bytes(
    broker: Broker, registry: RegistryDouble, name: str, options: Json
) -> None:
    index = SOURCES[name]
    source = plant_image(registry, "staging", index, "rc")
    draft = await broker.create(f"{registry.host}/app:1", source, **options)
    assert draft["digest"] == index.digest
    assert draft["copies"] == f"{registry.host}/staging@{index.digest}"
    assert not [each for each in draft["findings"] if each["code"] in {"metadata-lost", "not-exact"}]
    members = [each for child in index.children for each in (child.children or [child])]
    assert [each["descriptor"]["digest"] for each in draft["entries"]] == [each.digest for each in members]
    plan = await broker.call("POST", f"/v1/lists/{draft['id']}/plan", {"insecure": True})
    assert (plan["digest"], plan["problem"]) == (index.digest, None)
    pushed = await broker.push(draft["id"])
    assert pushed["digest"] == index.digest
    assert registry.get_manifest("app", "1") == (index.media_type, index.raw)
    raw = await broker.client.get(f"/v1/lists/{draft['id']}/index")
    assert raw.content == index.raw


async def test_a_single_image_keeps_its_bytes_only_if_asked(broker: Broker, registry: RegistryDouble) -> None:
    for media in ("docker", "oci"):
        image = make_image_for("linux/arm64", media=media)
        source = plant_image(registry, "staging", image, media)
        plain = await broker.create(f"{registry.host}/plain-{media}:1", source)
        assert (plain["copies"], plain["exact"], plain["findings"]) == (None, None, [])
        exact = await broker.create(f"{registry.host}/exact-{media}:1", source, exact=True)
        assert (exact["digest"], exact["media_type"]) == (image.digest, image.media_type)
        await broker.push(exact["id"])
        assert registry.get_manifest(f"exact-{media}", "1") == (image.media_type, image.raw)
        await broker.push(plain["id"])
        assert registry.get_manifest(f"plain-{media}", "1")[1] != image.raw


async def test_the_guard_knows_the_platform_of_a_copied_image(
    broker: Broker, registry: RegistryDouble
) -> None:
    amd64, arm64 = make_image_for("linux/amd64", seed="new"), make_image_for("linux/arm64")
    plant(registry, "app", "one", make_index([make_image_for("linux/amd64")]))
    plant(registry, "app", "two", make_index([make_image_for("linux/amd64"), arm64]))
    plant(registry, "app", "image", make_image_for("linux/amd64", seed="old"))
    source = plant_image(registry, "staging", amd64, "rc")
    for tag in ("one", "image"):
        draft = await broker.create(f"{registry.host}/app:{tag}", source, exact=True)
        pushed = await broker.push(draft["id"])
        (target,) = pushed["targets"]
        assert (target["difference"]["removed"], target["difference"]["added"]) == ([], [])
        assert registry.tags("app")[tag] == amd64.digest
    draft = await broker.create(f"{registry.host}/app:two", source, exact=True)
    refused = await broker.push(draft["id"], status=409)
    assert refused["platforms"] == ["linux/arm64"]


async def test_a_copied_index_of_indexes_loses_no_platform(broker: Broker, registry: RegistryDouble) -> None:
    index = SOURCES["an index of indexes"]
    plant(registry, "app", "1", make_buildx_index(seed="old"))
    draft = await broker.create(f"{registry.host}/app:1", plant_image(registry, "staging", index))
    await broker.push(draft["id"])
    assert registry.tags("app") == {"1": index.digest}


async def test_a_restore_puts_a_copied_index_back(broker: Broker, registry: RegistryDouble) -> None:
    index = SOURCES["an index of indexes"]
    draft = await broker.create(f"{registry.host}/app:1", plant_image(registry, "staging", index))
    pushed = await broker.push(draft["id"])
    registry.content.at("app").manifests.clear()
    plant(registry, "app", "1", make_image_for("linux/amd64"))
    await broker.call("POST", f"/v1/pushes/{pushed['id']}/restore", {"insecure": True})
    assert registry.get_manifest("app", "1") == (index.media_type, index.raw)
    for child in index.children:
        assert registry.get_manifest("app", child.digest)[1] == child.raw


async def test_an_inspected_copy_shows_the_bytes_of_its_source(
    broker: Broker, registry: RegistryDouble
) -> None:
    index = rich_index()
    await broker.create(f"{registry.host}/app:1", plant_image(registry, "staging", index))
    found = await broker.call("GET", f"/v1/inspect?reference={registry.host}/app:1&source=list")
    assert (found["digest"], found["manifest"]["x-example"]) == (index.digest, "kept")


# --- lists that stop being copies ---

CHANGES: dict[str, Json] = {
    "annotations": {"annotations": {"a": "b"}},
    "an artifact type": {"artifact_type": "application/vnd.example"},
    "the other format": {"format": "docker"},
    "no copy": {"exact": False},
}


@pytest.mark.parametrize("name", CHANGES)
async def test_options_that_ask_for_something_else_make_a_new_index(
    broker: Broker, registry: RegistryDouble, name: str
) -> None:
    index = make_buildx_index() if name != "the other format" else make_index([make_image_for("linux/amd64")])
    source = plant_image(registry, "staging", index)
    options = CHANGES[name]
    draft = await broker.create(f"{registry.host}/app:1", source, **options)
    assert draft["copies"] is None
    assert draft["digest"] != index.digest
    assert [each["code"] for each in draft["findings"]] == ([] if name == "no copy" else ["not-exact"])
    back = dict.fromkeys(options)
    again = await broker.call("PATCH", f"/v1/lists/{draft['id']}", back)
    assert (again["digest"], again["findings"]) == (index.digest, [])


async def test_a_changed_entry_makes_a_new_index_until_the_change_is_taken_back(
    broker: Broker, registry: RegistryDouble
) -> None:
    index = rich_index()
    draft = await broker.create(f"{registry.host}/app:1", plant_image(registry, "staging", index))
    path = f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}"
    changed = await broker.call("PATCH", path, {"annotations": {"a": "b"}})
    assert (changed["copies"], changed["revision"]) == (None, 2)
    assert changed["digest"] != index.digest
    findings: dict[str, list[str]] = {each["code"]: [] for each in changed["findings"]}
    for each in changed["findings"]:
        findings[each["code"]].append(each["detail"])
    assert set(findings) == {"not-exact", "metadata-lost"}
    told = " ".join(findings["metadata-lost"])
    # The data is not the content of the image.
    for name in ("subject", "x-example", "data"):
        assert name in told
    for name in ("org.example.channel", "application/vnd.example.app", "urls", "platform.features"):
        assert name not in told
    again = await broker.call("PATCH", path, {"annotations": None})
    assert (again["digest"], again["findings"]) == (index.digest, [])
    removed = await broker.client.delete(path)
    assert removed.json()["copies"] is None


async def test_a_list_of_several_sources_has_its_own_bytes_and_the_annotations_of_its_index(
    broker: Broker, registry: RegistryDouble
) -> None:
    index = make_index([make_image_for("linux/amd64")], annotations=ANNOTATED)
    first = plant_image(registry, "one", index)
    second = plant_image(registry, "two", make_image_for("linux/s390x", media="oci"))
    draft = await broker.create(f"{registry.host}/app:1", first, session="run")
    assert draft["digest"] == index.digest
    both = await broker.create(f"{registry.host}/app:1", second, session="run", amend=True)
    assert both["copies"] is None
    assert both["findings"] == []
    await broker.push(both["id"])
    _, raw = registry.get_manifest("app", "1")
    assert json.loads(raw)["annotations"] == ANNOTATED
    entry = next(each for each in both["entries"] if each["platform"]["architecture"] == "s390x")
    gone = await broker.client.delete(f"/v1/lists/{both['id']}/entries/{entry['id']}")
    assert gone.json()["digest"] == index.digest


@pytest.mark.parametrize("platforms", [["linux/amd64"], ["linux/arm64"]])
async def test_a_selection_is_a_list_of_its_own(
    broker: Broker, registry: RegistryDouble, platforms: list[str]
) -> None:
    source = plant_image(registry, "staging", make_buildx_index())
    draft = await broker.create(f"{registry.host}/app:1", {"reference": source, "platforms": platforms})
    assert (draft["copies"], draft["findings"]) == (None, [])
    refused = await broker.create(
        f"{registry.host}/app:2", {"reference": source, "platforms": platforms}, exact=True
    )
    assert [each["code"] for each in refused["findings"]] == ["not-exact"]
    assert (refused["digest"], refused["findings"][0]["severity"]) == (None, "error")
    problem = await broker.push(refused["id"], status=409)
    assert problem["type"].endswith(":list-not-pushable")


async def test_exact_is_refused_with_members_that_would_change_the_bytes(
    broker: Broker, registry: RegistryDouble
) -> None:
    source = plant_image(registry, "staging", make_buildx_index())
    for members in ({"annotations": {"a": "b"}}, {"artifact_type": "application/vnd.example"}):
        body = {"reference": f"{registry.host}/app:1", "sources": [source], "exact": True, **members}
        reply = await broker.client.post("/v1/lists", json=body)
        problem = check_problem(reply, 422, "invalid-input")
        assert problem["errors"][0]["pointer"] == "/exact"


async def test_a_refresh_copies_the_moved_index(broker: Broker, registry: RegistryDouble) -> None:
    first = make_index([make_image_for("linux/amd64")], annotations={"build": "1"})
    source = plant_image(registry, "staging", first)
    draft = await broker.create(f"{registry.host}/app:1", source)
    for number, image in enumerate((make_image_for("linux/amd64"), make_image_for("linux/amd64", seed=2))):
        moved = make_index([image], annotations={"build": f"2.{number}"})
        plant(registry, "staging", "1", moved)
        fresh = await broker.call("POST", f"/v1/lists/{draft['id']}/refresh", {"insecure": True})
        assert fresh["digest"] == moved.digest
    await broker.push(draft["id"])
    assert registry.tags("app") == {"1": moved.digest}


async def test_a_copy_reaches_several_registries_and_tags(broker: Broker, registry: RegistryDouble) -> None:
    index = rich_index()
    source = plant_image(registry, "staging", index)
    async with RegistryDouble() as other:
        mirror = f"{other.host}/mirror/app:1"
        draft = await broker.create(f"{registry.host}/app:1", source, tags=["latest"], targets=[mirror])
        await broker.push(draft["id"])
        assert registry.tags("app") == {"1": index.digest, "latest": index.digest}
        assert other.get_manifest("mirror/app", "1") == (index.media_type, index.raw)
