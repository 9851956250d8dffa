"""Artifacts are entries: with their type, and with a platform if the source names one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.broker import Broker, check_problem
from tests.support.images import (
    OCI_MANIFEST,
    Image,
    digest_of,
    make_image_for,
    make_index,
    plant,
)
from tests.support.planted_images import plant_image
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]
HELM = "application/vnd.cncf.helm.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
WASM = "application/vnd.wasm.config.v0+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
BINARY = "application/vnd.example.binary.v1"


class Artifact(Image):
    """As an index lists it, with its type."""

    def descriptor(self) -> Json:
        kind = json.loads(self.raw).get("artifactType")
        return {**super().descriptor(), **({"artifactType": kind} if kind else {})}


def make_artifact(
    config_type: str, *, config: bytes = b"{}", kind: str | None = None, platform: str = "", seed: str = ""
) -> Artifact:
    layer = f"content of {seed or platform} {kind} {config_type}".encode()
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        **({"artifactType": kind} if kind else {}),
        "config": {"mediaType": config_type, "size": len(config), "digest": digest_of(config)},
        "layers": [{"mediaType": "application/x.tar", "size": len(layer), "digest": digest_of(layer)}],
    }
    os, _, architecture = platform.partition("/")
    listed = {"architecture": architecture, "os": os} if platform else {}
    return Artifact(OCI_MANIFEST, json.dumps(document).encode(), config, (layer,), listed)


CHART = make_artifact(HELM, config=b'{"name": "app", "version": "1.0.0"}')
WASM_MODULE = make_artifact(WASM, config=b'{"architecture": "wasm", "os": "wasip2", "layerDigests": []}')
SINGLE: dict[str, tuple[Artifact, str, tuple[str | None, str | None]]] = {
    "a Helm chart": (CHART, HELM, (None, None)),
    "an artifact with an empty config": (make_artifact(EMPTY, kind=BINARY), BINARY, (None, None)),
    "a WebAssembly module": (WASM_MODULE, WASM, ("wasip2", "wasm")),
    "an artifact with the config of an image": (
        make_artifact(OCI_CONFIG, config=b'{"architecture": "arm64", "os": "linux"}', kind=BINARY),
        BINARY,
        ("linux", "arm64"),
    ),
}


@pytest.mark.parametrize("name", SINGLE)
async def test_an_artifact_beside_images_is_an_entry_with_its_type(
    broker: Broker, registry: RegistryDouble, name: str
) -> None:
    artifact, kind, (os, architecture) = SINGLE[name]
    image = plant_image(registry, "app-amd64", make_image_for("linux/amd64"))
    source = plant_image(registry, "other", artifact)
    draft = await broker.create(f"{registry.host}/app:1", image, source)
    assert [each["severity"] for each in draft["findings"]].count("error") == 0
    entry = next(each for each in draft["entries"] if each["reference"] == source)
    assert entry["descriptor"]["artifactType"] == kind
    assert (entry["platform"]["os"], entry["platform"]["architecture"]) == (os, architecture)
    await broker.push(draft["id"])
    index = json.loads(registry.get_manifest("app", "1")[1])
    listed = next(each for each in index["manifests"] if each["digest"] == artifact.digest)
    assert listed["artifactType"] == kind
    assert listed.get("platform") == ({"architecture": architecture, "os": os} if os else None)
    assert registry.get_manifest("app", artifact.digest)[1] == artifact.raw


async def test_a_caller_may_name_the_platform_of_an_artifact(
    broker: Broker, registry: RegistryDouble
) -> None:
    sources = [
        {
            "reference": plant_image(registry, f"bin-{name}", make_artifact(EMPTY, kind=BINARY, seed=name)),
            "platform": f"linux/{name}",
        }
        for name in ("amd64", "arm64")
    ]
    draft = await broker.create(
        f"{registry.host}/app:1", *sources, expected_platforms=["linux/amd64", "linux/arm64"]
    )
    assert (draft["complete"], draft["findings"]) == (True, [])
    await broker.push(draft["id"])


def mixed_index() -> Any:
    return make_index(
        [
            make_image_for("linux/amd64"),
            make_image_for("linux/arm64"),
            make_artifact(EMPTY, kind=BINARY, platform="linux/amd64"),
            make_artifact(EMPTY, kind=BINARY, platform="linux/arm64"),
            CHART,
        ]
    )


async def test_a_mixed_index_is_read_selected_amended_and_copied(
    broker: Broker, registry: RegistryDouble
) -> None:
    index = mixed_index()
    source = plant_image(registry, "mixed", index)
    copied = await broker.create(f"{registry.host}/app:1", source)
    assert (copied["digest"], len(copied["entries"])) == (index.digest, 5)
    await broker.push(copied["id"])
    assert registry.get_manifest("app", "1")[1] == index.raw
    more = plant_image(registry, "more", make_image_for("linux/s390x"))
    amended = await broker.create(f"{registry.host}/app:1", more, amend=True)
    assert (amended["copies"], len(amended["entries"])) == (None, 6)
    await broker.push(amended["id"])
    selected = await broker.create(
        f"{registry.host}/app:2", {"reference": source, "platforms": ["linux/arm64"]}
    )
    kinds = sorted(each["descriptor"].get("artifactType", "") for each in selected["entries"])
    assert kinds == ["", BINARY]
    again = await broker.create(f"{registry.host}/app:2", source, amend=True)
    assert len(again["entries"]) == 5


async def test_an_artifact_does_not_replace_the_image_of_its_platform(
    broker: Broker, registry: RegistryDouble
) -> None:
    image = plant_image(registry, "app-amd64", make_image_for("linux/amd64"))
    draft = await broker.create(f"{registry.host}/app:1", image)
    binary = plant_image(registry, "bin", make_artifact(EMPTY, kind=BINARY, seed="one"))
    source = {"reference": binary, "platform": "linux/amd64"}
    both = await broker.create(f"{registry.host}/app:1", source, amend=True)
    assert (len(both["entries"]), both["findings"]) == (2, [])
    newer = plant_image(registry, "bin-2", make_artifact(EMPTY, kind=BINARY, seed="two"))
    after = await broker.create(
        f"{registry.host}/app:1", {"reference": newer, "platform": "linux/amd64"}, amend=True
    )
    assert {each["reference"] for each in after["entries"]} == {image, newer}
    assert draft["id"] == after["id"]


async def test_an_artifact_is_copied_exactly(broker: Broker, registry: RegistryDouble) -> None:
    for name, (artifact, _, _) in SINGLE.items():
        repository = name.replace(" ", "-").lower()
        plant(registry, "charts", "1", artifact)
        draft = await broker.create(
            f"{registry.host}/{repository}:1", f"{registry.host}/charts:1", exact=True
        )
        await broker.push(draft["id"])
        assert registry.get_manifest(repository, "1") == (OCI_MANIFEST, artifact.raw)


async def test_an_artifact_has_no_revision_that_could_differ(
    broker: Broker, registry: RegistryDouble
) -> None:
    image = plant_image(registry, "app-amd64", make_image_for("linux/amd64"))
    chart = plant_image(registry, "chart", CHART)
    draft = await broker.create(f"{registry.host}/app:1", image, chart, same_revision=True)
    assert draft["findings"] == []


async def test_a_selection_can_not_be_met_by_what_names_no_platform(
    broker: Broker, registry: RegistryDouble
) -> None:
    binary = plant_image(registry, "bin", make_artifact(EMPTY, kind=BINARY))
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": [{"reference": binary, "platforms": ["linux/amd64"]}],
        "insecure": True,
    }
    problem = check_problem(await broker.client.post("/v1/lists", json=body), 422, "platform-not-in-source")
    assert problem["detail"].endswith("Give the source a platform instead of platforms.")
    assert problem["platforms"] == []
    body["sources"] = [{"reference": binary, "platform": "linux/amd64"}]
    assert (await broker.client.post("/v1/lists", json=body)).status_code == 201
