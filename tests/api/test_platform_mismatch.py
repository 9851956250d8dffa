"""An index and the config of an image that name different platforms."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.support.broker import Broker, check_problem
from tests.support.images import Image, make_attestation, make_image, make_image_for, make_index
from tests.support.planted_images import plant_image
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]


def listed_as(platform: Json, config: Json) -> Image:
    document = {**config, "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    image = make_image(media="oci", config=json.dumps(document).encode())
    return replace(image, platform=platform)


def of(os: str, architecture: str, **more: str) -> Json:
    return {"os": os, "architecture": architecture, **{k.replace("_", "."): v for k, v in more.items()}}


WINDOWS = of("windows", "amd64", os_version="10.0.20348.2113")
DIFFERENT = {
    "another architecture": (of("linux", "arm64"), of("linux", "amd64"), "linux/arm64", "linux/amd64"),
    "another system": (of("linux", "amd64"), of("windows", "amd64"), "linux/amd64", "windows/amd64"),
    "nothing in the config": (of("linux", "arm64"), {}, "linux/arm64", "no platform"),
    "half of it in the config": (of("linux", "arm64"), {"os": "linux"}, "linux/arm64", "linux/(none)"),
    "another variant": (
        of("linux", "arm", variant="v7"),
        of("linux", "arm", variant="v6"),
        "linux/arm/v7",
        "linux/arm/v6",
    ),
    "another build of Windows": (
        WINDOWS,
        of("windows", "amd64", os_version="10.0.17763.5458"),
        "10.0.20348.2113",
        "10.0.17763.5458",
    ),
}
SAME = {
    "the usual variant": (of("linux", "arm64", variant="v8"), of("linux", "arm64")),
    "a variant in the index alone": (of("linux", "arm", variant="v6"), of("linux", "arm")),
    "another revision of a build": (WINDOWS, of("windows", "amd64", os_version="10.0.20348.1000")),
    "a version in the index alone": (WINDOWS, of("windows", "amd64")),
}


@pytest.mark.parametrize("name", DIFFERENT)
async def test_a_finding_has_both_values_and_so_has_the_answer(
    broker: Broker, registry: RegistryDouble, name: str
) -> None:
    listed, config, said, own = DIFFERENT[name]
    source = plant_image(registry, "leg", make_index([listed_as(listed, config)]))
    draft = await broker.create(f"{registry.host}/app:1", source)
    (entry,) = draft["entries"]
    (finding,) = draft["findings"]
    assert (finding["code"], finding["severity"]) == ("platform-mismatch", "warning")
    assert finding["entry_id"] == entry["id"]
    assert said in finding["detail"]
    assert own in finding["detail"]
    for member, wanted in (("platform", listed), ("index_platform", listed), ("resolved_platform", config)):
        assert entry[member]["architecture"] == wanted.get("architecture")
        assert entry[member]["os_version"] == wanted.get("os.version")
        assert entry[member]["variant"] == wanted.get("variant")
    if "architecture" in config:
        path = f"/v1/lists/{draft['id']}/entries/{entry['id']}"
        override = {name.replace(".", "_"): config.get(name) for name in ("os", "architecture", "variant")}
        fixed = await broker.call("PATCH", path, {"platform": override})
        assert (
            "platform-mismatch" not in [each["code"] for each in fixed["findings"]] or "os.version" in config
        )


@pytest.mark.parametrize("name", SAME)
async def test_two_ways_of_naming_one_platform_are_no_contradiction(
    broker: Broker, registry: RegistryDouble, name: str
) -> None:
    listed, config = SAME[name]
    source = plant_image(registry, "leg", make_index([listed_as(listed, config)]))
    draft = await broker.create(f"{registry.host}/app:1", source)
    assert draft["findings"] == []


async def test_an_image_that_was_named_itself_has_no_platform_in_an_index(
    broker: Broker, registry: RegistryDouble
) -> None:
    source = plant_image(registry, "leg", make_image(architecture="arm64"))
    draft = await broker.create(f"{registry.host}/app:1", source)
    assert draft["entries"][0]["index_platform"] is None
    assert draft["entries"][0]["resolved_platform"]["architecture"] == "arm64"


@pytest.mark.parametrize("empty", [{}, {"os": "", "architecture": ""}])
async def test_where_the_index_names_no_platform_the_config_decides(
    broker: Broker, registry: RegistryDouble, empty: Json
) -> None:
    arm64, amd64 = (replace(make_image_for(name), platform=empty) for name in ("linux/arm64", "linux/amd64"))
    members = [arm64, make_attestation(arm64), amd64, make_attestation(amd64), make_image_for("linux/s390x")]
    source = plant_image(registry, "leg", make_index(members))
    whole = await broker.create(f"{registry.host}/app:1", source, exact=False)
    assert [each["code"] for each in whole["findings"]] == []
    assert sum(each["platform"]["os"] == "linux" for each in whole["entries"]) == 3
    selected = await broker.create(
        f"{registry.host}/app:2", {"reference": source, "platforms": ["linux/arm64"]}
    )
    assert {each["descriptor"]["digest"] for each in selected["entries"]} == {
        arm64.digest,
        make_attestation(arm64).digest,
    }
    body = {
        "reference": f"{registry.host}/app:3",
        "sources": [{"reference": source, "platforms": ["linux/riscv64"]}],
        "insecure": True,
    }
    problem = check_problem(await broker.client.post("/v1/lists", json=body), 422, "platform-not-in-source")
    assert problem["platforms"] == ["linux/s390x"]
