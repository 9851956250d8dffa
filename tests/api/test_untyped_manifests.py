"""Manifests whose media type only their descriptor, their own member or their shape names."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.support.broker import Broker, check_problem
from tests.support.images import Image, make_attestation, make_image_for, make_index, plant
from tests.support.planted_images import plant_image
from tests.support.registry import ContentType, RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]
TYPES = [None, "application/octet-stream", "application/json", "application/json; charset=utf-8"]


def untyped(image: Image) -> Image:
    document = json.loads(image.raw)
    del document["mediaType"]
    return replace(image, raw=json.dumps(document).encode())


@pytest.mark.parametrize("content_type", TYPES)
async def test_an_image_alone_is_known_by_its_shape(
    broker: Broker, registry: RegistryDouble, content_type: str | None
) -> None:
    image = untyped(make_image_for("linux/arm64"))
    source = plant_image(registry, "leg", image)
    registry.misbehave(ContentType(content_type), method="GET", path="/leg/manifests/")
    draft = await broker.create(f"{registry.host}/app:1", source)
    assert draft["entries"][0]["descriptor"]["mediaType"] == image.media_type
    await broker.push(draft["id"])
    assert registry.get_manifest("app", image.digest) == (image.media_type, image.raw)


@pytest.mark.parametrize("content_type", TYPES)
async def test_an_index_and_its_children_are_known_without_any_type(
    broker: Broker, registry: RegistryDouble, content_type: str | None
) -> None:
    image = untyped(make_image_for("linux/arm64"))
    index = make_index([image, untyped(make_attestation(image)), untyped(make_image_for("linux/amd64"))])
    document = json.loads(index.raw)
    del document["mediaType"]
    index = replace(index, raw=json.dumps(document).encode())
    source = plant_image(registry, "leg", index)
    registry.misbehave(ContentType(content_type), method="GET", path="/leg/manifests/")
    draft = await broker.create(f"{registry.host}/app:1", source)
    assert (draft["digest"], len(draft["entries"])) == (index.digest, 3)
    await broker.push(draft["id"])
    assert registry.get_manifest("app", "1")[1] == index.raw
    found = await broker.call(
        "GET", f"/v1/inspect?reference={source}&source=registry&verbose=true&insecure=true"
    )
    assert len(found["images"]) == 3


BROKEN: dict[str, bytes] = {
    "no JSON": b"{",
    "neither image nor index": b'{"schemaVersion": 2}',
    "an index where an image is listed": b'{"schemaVersion": 2, "manifests": []}',
    "another type than the descriptor says": (
        b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}'
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_problem_names_the_child(broker: Broker, registry: RegistryDouble, name: str) -> None:
    child = replace(make_image_for("linux/arm64"), raw=BROKEN[name])
    index = make_index([make_image_for("linux/amd64"), child])
    plant(registry, "leg", "1", index)
    registry.misbehave(ContentType("application/json"), method="GET", path=f"/leg/manifests/{child.digest}")
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": [f"{registry.host}/leg:1"],
        "insecure": True,
    }
    reply = await broker.client.post("/v1/lists", json=body, headers={"Prefer": "wait=60"})
    problem = check_problem(reply, 422)
    assert child.digest in problem["detail"]
    assert problem["errors"][0]["reference"] == f"{registry.host}/leg:1@{child.digest}"
