"""The table in docs/lists.md is true: each of its rows has a case here."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Broker, check_problem
from tests.support.images import (
    IN_TOTO,
    OCI_INDEX,
    OCI_MANIFEST,
    Image,
    ImageIndex,
    make_attestation,
    make_image,
    make_image_for,
    make_index,
    plant,
)
from tests.support.planted_images import plant_image
from tests.support.registry import ContentType, RegistryDouble

Json = dict[str, Any]
Case = Callable[[Broker, RegistryDouble], Awaitable[None]]

KIND = "application/vnd.example.app"
SBOM = "application/vnd.example.sbom"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"


class Rich(Image):
    """An image with every member in its descriptor that an index may have."""

    def descriptor(self) -> Json:
        document = super().descriptor()
        return {
            **document,
            "platform": {**document["platform"], "features": ["sse4"]},
            "urls": ["https://example.com/x"],
            "data": base64.b64encode(self.raw).decode(),
            "x-own": 1,
        }


def rich(name: str) -> Rich:
    image = make_image_for(name)
    annotations = {"of": name}
    return Rich(image.media_type, image.raw, image.config, image.layers, image.platform, annotations)


def rich_index(*names: str, **annotations: str) -> ImageIndex:
    extra = {"artifactType": KIND, "subject": make_image().descriptor(), "x-own": 1}
    return make_index([rich(name) for name in names], annotations=annotations, extra=extra)


async def created(broker: Broker, registry: RegistryDouble, *sources: object, **members: Any) -> Json:
    draft: Json = await broker.create(f"{registry.host}/app:1", *sources, **members)
    return draft


async def refused(broker: Broker, registry: RegistryDouble, *sources: object) -> Json:
    body = {"reference": f"{registry.host}/app:2", "sources": list(sources), "insecure": True}
    return check_problem(await broker.client.post("/v1/lists", json=body), 422, "source-unsupported")


async def index_of(broker: Broker, draft: Json) -> Json:
    document: Json = await broker.call("GET", f"/v1/lists/{draft['id']}/index")
    return document


def findings(draft: Json, code: str) -> list[str]:
    return [each["detail"] for each in draft["findings"] if each["code"] == code]


def check_members(document: Json, *names: str) -> None:
    """What a descriptor carries over."""
    members = {each["annotations"]["of"]: each for each in document["manifests"] if "annotations" in each}
    for name in names:
        image = rich(name)
        assert members[name] == {
            "mediaType": image.media_type,
            "size": len(image.raw),
            "digest": image.digest,
            "urls": ["https://example.com/x"],
            "platform": {**image.platform, "features": ["sse4"]},
            "annotations": {"of": name},
            "data": base64.b64encode(image.raw).decode(),
        }


async def one_unchanged(broker: Broker, registry: RegistryDouble) -> None:
    index = rich_index("linux/amd64", "linux/arm64", title="T")
    draft = await created(broker, registry, plant_image(registry, "source", index))
    await broker.push(draft["id"])
    assert registry.get_manifest("app", "1") == (index.media_type, index.raw)


async def one_changed(broker: Broker, registry: RegistryDouble) -> None:
    source = plant_image(registry, "source", rich_index("linux/amd64", "linux/arm64", title="T", kind="K"))
    beside = plant_image(registry, "image", make_image_for("linux/s390x"))
    draft = await created(broker, registry, source, beside, annotations={"title": "own"})
    document = await index_of(broker, draft)
    check_members(document, "linux/amd64", "linux/arm64")
    assert document["annotations"] == {"title": "own", "kind": "K"}
    assert document["artifactType"] == KIND
    assert not {"subject", "x-own"} & document.keys()
    *of_members, of_index = findings(draft, "metadata-lost")
    assert [detail.endswith(": x-own.") for detail in of_members] == [True, True]
    assert "subject" in of_index
    assert of_index.endswith(", x-own.")
    exact = await broker.call("PATCH", f"/v1/lists/{draft['id']}", {"annotations": None, "exact": True})
    assert findings(exact, "not-exact")
    selected = await broker.create(
        f"{registry.host}/part:1", {"reference": source, "platforms": ["linux/arm64"]}
    )
    check_members(await index_of(broker, selected), "linux/arm64")
    single = make_image_for("linux/amd64")
    index = make_index([single], extra={"manifests": [{**single.descriptor(), "data": "e30="}]})
    draft = await broker.create(f"{registry.host}/data:1", plant_image(registry, "data", index), exact=False)
    assert "data" in findings(draft, "metadata-lost")[0]


async def several(broker: Broker, registry: RegistryDouble) -> None:
    one = plant_image(registry, "one", rich_index("linux/amd64", revision="r", created="1"))
    two = plant_image(registry, "two", rich_index("linux/arm64", revision="r", created="2"))
    draft = await created(broker, registry, one, two)
    document = await index_of(broker, draft)
    check_members(document, "linux/amd64", "linux/arm64")
    assert (document["annotations"], document["artifactType"]) == ({"revision": "r"}, KIND)
    assert sum("annotations (created)" in each for each in findings(draft, "metadata-lost")) == 2


async def nested(broker: Broker, registry: RegistryDouble) -> None:
    inner = make_index([rich("linux/amd64")], annotations={"inner": "1"})
    outer = make_index([inner, rich("linux/arm64")], annotations={"outer": "1"})
    draft = await created(broker, registry, plant_image(registry, "source", outer), exact=False)
    document = await index_of(broker, draft)
    check_members(document, "linux/amd64", "linux/arm64")
    assert document["annotations"] == {"outer": "1"}
    assert any("annotations (inner)" in each for each in findings(draft, "metadata-lost"))
    deep = make_index([make_index([inner])])
    await refused(broker, registry, plant_image(registry, "deep", deep))


async def in_docker_list(broker: Broker, registry: RegistryDouble) -> None:
    plain = make_image_for("linux/amd64", media="docker")
    index = make_index([plain], annotations={"title": "T"}, extra={"artifactType": KIND})
    draft = await created(broker, registry, plant_image(registry, "source", index), format="docker")
    document = await index_of(broker, draft)
    assert document.keys() == {"schemaVersion", "mediaType", "manifests"}
    assert document["manifests"][0]["platform"] == plain.platform
    (lost,) = findings(draft, "metadata-lost")
    assert "title" in lost
    assert KIND in lost
    source = plant_image(registry, "rich", rich_index("linux/amd64"))
    annotated = await broker.create(f"{registry.host}/rich-app:1", source, format="docker")
    assert findings(annotated, "format-conflict")


async def image(broker: Broker, registry: RegistryDouble) -> None:
    single = make_image_for("linux/arm64/v8", media="docker")
    draft = await created(broker, registry, plant_image(registry, "source", single))
    (member,) = (await index_of(broker, draft))["manifests"]
    assert member.keys() == {"mediaType", "size", "digest", "platform"}
    assert (member["digest"], member["platform"]) == (single.digest, single.platform)


async def image_exact(broker: Broker, registry: RegistryDouble) -> None:
    single = make_image_for("linux/arm64")
    source = plant_image(registry, "source", single)
    draft = await created(broker, registry, source, exact=True)
    await broker.push(draft["id"])
    assert registry.get_manifest("app", "1") == (single.media_type, single.raw)
    second = plant_image(registry, "second", make_image_for("linux/amd64"))
    for changed in (
        [source, second],
        [{"reference": source, "platform": "linux/amd64"}],
        [{"reference": source, "annotations": {"a": "b"}}],
    ):
        draft = await broker.create(f"{registry.host}/changed:1", *changed, exact=True, amend=True)
        assert findings(draft, "not-exact")
        await broker.call("DELETE", f"/v1/lists/{draft['id']}", status=204)


async def artifact(broker: Broker, registry: RegistryDouble) -> None:
    typed = make_image(config=b"{}", media="oci", extra={"artifactType": SBOM, "config": _config(SBOM)})
    untyped = make_image(
        config=b"{}", media="oci", extra={"config": _config("application/vnd.example.config")}
    )
    sources = [plant_image(registry, name, each) for name, each in (("typed", typed), ("untyped", untyped))]
    draft = await created(broker, registry, *sources)
    members = (await index_of(broker, draft))["manifests"]
    assert [(each["artifactType"], "platform" in each) for each in members] == [
        (SBOM, False),
        ("application/vnd.example.config", False),
    ]
    docker = await broker.create(f"{registry.host}/docker:1", sources[0], format="docker")
    assert findings(docker, "format-conflict")


def _config(media_type: str) -> Json:
    data = b"{}"
    return {
        **make_index([]).descriptor(),
        "mediaType": media_type,
        "size": len(data),
        "digest": _digest(data),
    }


def _digest(data: bytes) -> str:
    return Image("", data, b"", ()).digest


async def attestation(broker: Broker, registry: RegistryDouble) -> None:
    single = make_image_for("linux/amd64")
    index = make_index([single, make_attestation(single)])
    draft = await created(broker, registry, plant_image(registry, "source", index), exact=False)
    members = {each["digest"]: each for each in (await index_of(broker, draft))["manifests"]}
    own = make_attestation(single).descriptor()
    found = members[own["digest"]]
    assert {name: found[name] for name in own} == own
    assert IN_TOTO in make_attestation(single).raw.decode()


async def untyped(broker: Broker, registry: RegistryDouble) -> None:
    document = json.loads(make_image_for("linux/amd64").raw)
    del document["mediaType"]
    bare = replace(make_image_for("linux/amd64"), raw=json.dumps(document).encode())
    registry.misbehave(ContentType(None), method="GET", path="/manifests/")
    draft = await created(broker, registry, plant_image(registry, "source", bare))
    await broker.push(draft["id"])
    assert registry.get_manifest("app", bare.digest) == (OCI_MANIFEST, bare.raw)
    contradicting = json.dumps({**document, "mediaType": OCI_INDEX}).encode()
    source = plant_image(registry, "contradicting", replace(bare, raw=contradicting))
    body = {"reference": f"{registry.host}/app:2", "sources": [source], "insecure": True}
    check_problem(await broker.client.post("/v1/lists", json=body), 422)


async def unknown(broker: Broker, registry: RegistryDouble) -> None:
    for media_type in (SCHEMA1, "application/vnd.example+json"):
        raw = json.dumps({"schemaVersion": 1 if media_type == SCHEMA1 else 2}).encode()
        plant(registry, "unknown", "1", replace(make_image(), media_type=media_type, raw=raw))
        await refused(broker, registry, f"{registry.host}/unknown:1")


ROWS: dict[str, Case] = {
    "one index, unchanged": one_unchanged,
    "one index with changes or a selection, or beside images": one_changed,
    "several indexes": several,
    "an index of indexes, with changes": nested,
    "an index in a list with the format `docker`": in_docker_list,
    "an image": image,
    "an image with `exact: true`": image_exact,
    "an artifact": artifact,
    "an attestation": attestation,
    "a manifest without `mediaType`": untyped,
    "Docker's schema 1, unknown media types": unknown,
}


def table_rows() -> list[str]:
    page = Path("docs/lists.md").read_text()
    _, _, table = page.partition("| source | carried over | recomputed | refused |\n|---|---|---|---|\n")
    return [row.strip() for row in re.findall(r"^\|([^|]*)\|", table.partition("\n\n")[0], re.MULTILINE)]


def test_each_row_of_the_table_has_a_case() -> None:
    assert table_rows() == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
async def test_a_row_of_the_table_is_true(broker: Broker, registry: RegistryDouble, row: str) -> None:
    # Passes if nothing raises.
    await ROWS[row](broker, registry)
