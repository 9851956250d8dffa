"""The order of the entries in the index that a push puts."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from tests.support.broker import Broker, check_problem
from tests.support.images import Content, Image, make_attestation, make_image, make_image_for, make_index
from tests.support.planted_images import plant_image, plant_images
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]


def digests(draft: Json) -> list[str]:
    return [each["descriptor"]["digest"] for each in draft["entries"]]


def descending(images: list[Image]) -> list[Image]:
    """Against the order of their digests, which is Docker's."""
    return sorted(images, key=lambda image: image.digest, reverse=True)


def windows() -> list[Image]:
    return [
        make_image(os="windows", os_version=version, media="oci")
        for version in ("10.0.26100.1", "10.0.20348.1", "10.0.17763.1")
    ]


def compressed() -> list[Image]:
    return [make_image_for("linux/amd64", seed=name) for name in ("gzip", "zstd", "estargz")]


def built() -> list[Image]:
    images = [make_image_for(name) for name in ("linux/s390x", "linux/arm64", "linux/amd64")]
    return [*images, *map(make_attestation, images)]


@pytest.mark.parametrize("images", [windows(), compressed(), built()])
async def test_an_index_is_pushed_in_its_own_order(
    broker: Broker, registry: RegistryDouble, images: list[Image]
) -> None:
    source = plant_image(registry, "source", make_index(descending(images)))
    draft = await broker.create(
        f"{registry.host}/app:1", source, order="as-given", allow_duplicate_platforms=True
    )
    assert draft["order"] == "as-given"
    assert digests(draft) == [each.digest for each in descending(images)]
    await broker.push(draft["id"])
    _, raw = registry.get_manifest("app", "1")
    assert [each["digest"] for each in json.loads(raw)["manifests"]] == digests(draft)


async def test_sources_stand_as_given_and_a_patch_changes_the_order(
    broker: Broker, registry: RegistryDouble
) -> None:
    sources = plant_images(registry, "linux/s390x", "linux/arm64", "linux/386", "linux/amd64")
    draft = await broker.create(f"{registry.host}/app:1", *sources)
    path = f"/v1/lists/{draft['id']}"
    assert (draft["order"], [each["reference"] for each in draft["entries"]]) == ("docker", sorted(sources))
    given = await broker.call("PATCH", path, {"order": "as-given"})
    assert [each["reference"] for each in given["entries"]] == sources
    assert given["digest"] != draft["digest"]
    assert given["revision"] == draft["revision"] + 1
    again = await broker.call("PATCH", path, {"order": None})
    assert (again["order"], again["digest"]) == ("docker", draft["digest"])
    reply = await broker.client.patch(path, json={"order": "newest"})
    check_problem(reply, 422, "invalid-input")


@pytest.mark.parametrize("order", ["docker", "as-given"])
@pytest.mark.parametrize("count", [2, 3, 5])
async def test_images_of_an_index_for_one_platform_keep_its_order(
    broker: Broker, registry: RegistryDouble, order: str, count: int
) -> None:
    images = descending([make_image_for("linux/amd64", seed=number) for number in range(count)])
    source = plant_image(registry, "source", make_index([*images, make_image_for("linux/arm64")]))
    draft = await broker.create(f"{registry.host}/app:1", source, order=order, allow_duplicate_platforms=True)
    found = [each for each in digests(draft) if each in {image.digest for image in images}]
    assert found == [image.digest for image in images]


@pytest.mark.parametrize("expected", [["linux/s390x", "linux/amd64", "linux/arm64"], None])
async def test_the_order_of_legs_does_not_depend_on_their_arrival(
    broker: Broker, registry: RegistryDouble, expected: list[str] | None
) -> None:
    legs: list[tuple[str, Content]] = []
    for name in ("linux/amd64", "linux/arm64", "linux/s390x"):
        image = make_image_for(name)
        legs.append((name.rpartition("/")[2], make_index([image, make_attestation(image)])))
    sources = [plant_image(registry, name, content) for name, content in legs]
    made = set()
    for run, arrived in enumerate(permutations(sources)):
        options: Json = {"amend": True, "order": "as-given", "session": f"run-{run}"}
        if expected is not None:
            options["expected_platforms"] = expected
        for source in arrived:
            draft = await broker.create(f"{registry.host}/app:1", source, **options)
        made.add((draft["digest"], *(each["platform"]["architecture"] for each in draft["entries"])))
    ((_, *architectures),) = made
    first = ["s390x", "amd64", "arm64"] if expected is not None else ["amd64", "arm64", "s390x"]
    assert [each for each in architectures if each != "unknown"] == first


async def test_a_repeated_leg_leaves_the_order_and_the_revision(
    broker: Broker, registry: RegistryDouble
) -> None:
    sources = plant_images(registry, "linux/s390x", "linux/arm64", "linux/amd64")
    draft = await broker.create(f"{registry.host}/app:1", *sources, order="as-given")
    again = await broker.create(f"{registry.host}/app:1", sources[0], amend=True)
    assert again == draft
    newer = plant_image(registry, "newer", make_image_for("linux/s390x", seed="newer"))
    replaced = await broker.create(f"{registry.host}/app:1", newer, amend=True)
    assert [each["reference"] for each in replaced["entries"]] == [newer, *sources[1:]]


async def test_the_first_entry_in_the_order_decides_the_media_type(
    broker: Broker, registry: RegistryDouble
) -> None:
    docker = plant_image(registry, "z", make_image_for("linux/amd64", media="docker"))
    oci = plant_image(registry, "a", make_image_for("linux/arm64"))
    draft = await broker.create(f"{registry.host}/app:1", docker, oci, order="as-given")
    assert "docker" in draft["media_type"]
    plain = await broker.call("PATCH", f"/v1/lists/{draft['id']}", {"order": "docker"})
    assert "oci" in plain["media_type"]
