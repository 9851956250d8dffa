"""Inspections of lists and of images in registries."""

from __future__ import annotations

import base64
from typing import Any

from app.operations.states import Kind
from tests.support.broker import Broker, check_problem
from tests.support.images import make_buildx_index, make_image, make_image_for, make_index
from tests.support.planted_images import plant_image, plant_images
from tests.support.registry import RegistryDouble

Json = dict[str, Any]


async def inspect(broker: Broker, reference: str, **parameters: object) -> Any:
    reply = await broker.client.get(
        "/v1/inspect", params={"reference": reference, "insecure": "true", **_texts(parameters)}
    )
    assert reply.status_code == 200, reply.text
    return reply.json()


def _texts(parameters: Json) -> dict[str, str]:
    return {name: str(value).lower() for name, value in parameters.items()}


async def test_a_list_takes_precedence_over_the_registry(broker: Broker, registry: RegistryDouble) -> None:
    pushed = plant_image(registry, "app", make_image_for("linux/s390x"))
    draft = await broker.create(pushed, *plant_images(registry, "linux/amd64"))
    registry.forget()
    local = await inspect(broker, pushed)
    assert (local["from"], local["list_id"], local["digest"]) == ("list", draft["id"], draft["digest"])
    assert registry.journal == []
    remote = await inspect(broker, pushed, source="registry")
    assert (remote["from"], remote["digest"]) == ("registry", make_image_for("linux/s390x").digest)


async def test_source_list_never_asks_the_registry(broker: Broker, registry: RegistryDouble) -> None:
    reference = plant_image(registry, "app", make_image())
    reply = await broker.client.get("/v1/inspect", params={"reference": reference, "source": "list"})
    document = check_problem(reply, 404, "list-not-found")
    assert document["detail"] == f"No such manifest: {reference}"


async def test_an_inspection_finds_the_list_of_its_session(broker: Broker, registry: RegistryDouble) -> None:
    reference = f"{registry.host}/app:1"
    draft = await broker.create(reference, *plant_images(registry, "linux/amd64"), session="run-1")
    assert (await inspect(broker, reference, session="run-1"))["list_id"] == draft["id"]
    reply = await broker.client.get("/v1/inspect", params={"reference": reference, "insecure": "true"})
    check_problem(reply, 404, "source-not-found")


async def test_raw_returns_the_exact_bytes_with_their_media_type(
    broker: Broker, registry: RegistryDouble
) -> None:
    image = make_image()
    reference = plant_image(registry, "app", image)
    draft = await broker.create(f"{registry.host}/list:1", reference)
    for asked, digest, media_type in (
        (reference, image.digest, image.media_type),
        (draft["reference"], draft["digest"], draft["media_type"]),
    ):
        reply = await broker.client.get(
            "/v1/inspect", params={"reference": asked, "insecure": "true", "raw": "true"}
        )
        assert reply.headers["Content-Type"] == media_type
        assert reply.headers["Docker-Content-Digest"] == digest
    first = await broker.client.get(
        "/v1/inspect", params={"reference": reference, "insecure": "true", "raw": "true"}
    )
    assert first.content == image.raw
    assert base64.b64decode((await inspect(broker, reference))["raw"]) == image.raw


async def test_verbose_shows_each_image_of_an_index(broker: Broker, registry: RegistryDouble) -> None:
    index = make_buildx_index()
    reference = plant_image(registry, "app", index)
    found = await inspect(broker, reference, verbose=True)
    assert [each["Descriptor"]["digest"] for each in found["images"]] == [
        child.digest for child in index.children
    ]
    assert found["images"][0]["Ref"] == f"{reference}@{index.children[0].digest}"
    assert found["images"][0]["Descriptor"]["platform"] == {"architecture": "amd64", "os": "linux"}
    assert found["images"][2]["Descriptor"]["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert "images" not in await inspect(broker, reference)


async def test_verbose_shows_one_image_with_its_platform(broker: Broker, registry: RegistryDouble) -> None:
    image = make_image(architecture="arm64", variant="v8")
    (found,) = (await inspect(broker, plant_image(registry, "app", image), verbose=True))["images"]
    assert found["Descriptor"]["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}
    assert base64.b64decode(found["Raw"]) == image.raw
    assert found["SchemaV2Manifest"]["config"]["digest"] == image.config_digest


async def test_nested_empty_and_artifact_indexes_can_be_inspected(
    broker: Broker, registry: RegistryDouble
) -> None:
    nested = make_index([make_index([make_image(media="oci")])])
    artifact = make_image(media="oci", extra={"artifactType": "application/vnd.example+json"})
    for name, content in (("nested", nested), ("artifact", artifact), ("empty", make_index([]))):
        found = await inspect(broker, plant_image(registry, name, content), verbose=True)
        assert found["digest"] == content.digest


async def test_a_list_that_can_not_be_pushed_can_be_inspected(
    broker: Broker, registry: RegistryDouble
) -> None:
    bare = await broker.create(
        f"{registry.host}/a:1", plant_image(registry, "bare", make_image(config=b"{}"))
    )
    found = await inspect(broker, bare["reference"], verbose=True)
    assert found["manifest"]["manifests"][0]["platform"] == {"architecture": "", "os": ""}
    empty = await broker.create(f"{registry.host}/b:1")
    assert (await inspect(broker, empty["reference"], verbose=True))["images"] == []


async def test_each_of_several_references_has_its_own_result_or_problem(
    broker: Broker, registry: RegistryDouble
) -> None:
    image = make_image()
    good, missing = plant_image(registry, "a", image), f"{registry.host}/missing:1"
    body = {
        "references": [good, missing, {"reference": good, "verbose": True, "insecure": True}],
        "insecure": True,
    }
    results = (await broker.call("POST", "/v1/inspections", body))["results"]
    assert [each["reference"] for each in results] == [good, missing, good]
    assert results[0]["result"]["digest"] == image.digest
    assert results[1]["problem"]["type"] == "urn:manifest-broker:problem:source-not-found"
    assert (results[1]["problem"]["status"], results[1].get("result")) == (404, None)
    assert len(results[2]["result"]["images"]) == 1
    (operation,) = (await broker.call("GET", f"/v1/operations?kind={Kind.INSPECT_IMAGES}"))["items"]
    assert operation["result"]["results"] == results
