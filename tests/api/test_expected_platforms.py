"""Levels of one architecture and builds of Windows: each expected one needs its own image, and is named."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.broker import Broker, check_problem
from tests.support.images import Image, make_image, make_index
from tests.support.planted_images import plant_image, plant_images
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]


def windows(version: str, *, seed: int | str = 0) -> Image:
    return make_image(os="windows", os_version=version, seed=seed)


def build(version: str) -> Json:
    return {"os": "windows", "architecture": "amd64", "os_version": version}


def leg(*expected: object, **options: Any) -> Json:
    return {
        "amend": True,
        "session": "run",
        "expected_platforms": list(expected),
        "push_when_complete": True,
    } | options


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [("linux/amd64", "linux/amd64/v3"), ("linux/arm64", "linux/arm64/v9"), ("linux/arm", "linux/arm/v6")],
)
@pytest.mark.parametrize("narrow_first", [True, False])
async def test_a_list_waits_for_both_levels_of_an_architecture(
    broker: Broker, registry: RegistryDouble, wide: str, narrow: str, *, narrow_first: bool
) -> None:
    order = [narrow, wide] if narrow_first else [wide, narrow]
    sources = plant_images(registry, *order)
    options = leg(wide, narrow)
    first = await broker.create(f"{registry.host}/app:1", sources[0], **options)
    assert (first["complete"], first["missing_platforms"]) == (False, order[1:])
    assert first["push_operation_id"] is None
    last = await broker.create(f"{registry.host}/app:1", sources[1], **options)
    assert (last["complete"], last["missing_platforms"]) == (True, [])
    assert last["findings"] == []
    assert (await broker.ended(last["push_operation_id"]))["state"] == "succeeded"


async def test_a_failed_level_lets_a_partial_list_be_pushed_with_the_other(
    broker: Broker, registry: RegistryDouble
) -> None:
    (source,) = plant_images(registry, "linux/amd64/v3")
    options = leg("linux/amd64", "linux/amd64/v3", allow_partial=True)
    await broker.create(f"{registry.host}/app:1", source, **options)
    failed = await broker.create(f"{registry.host}/app:1", failures={"linux/amd64": "exit 1"}, **options)
    pushed = (await broker.ended(failed["push_operation_id"]))["result"]
    assert (pushed["partial"], pushed["missing_platforms"]) == (True, ["linux/amd64"])
    assert [entry["platform"]["variant"] for entry in failed["entries"]] == ["v3"]


@pytest.mark.parametrize("version", ["10.0.20348", "10.0.20348.1", "10.0.20348.9999"])
async def test_an_image_of_any_revision_meets_an_expected_windows_build(
    broker: Broker, registry: RegistryDouble, version: str
) -> None:
    source = plant_image(registry, "win", windows("10.0.20348.2113"))
    made = await broker.create(f"{registry.host}/app:1", source, **leg(build(version)))
    assert (made["complete"], made["missing_platforms"]) == (True, [])
    assert (await broker.ended(made["push_operation_id"]))["state"] == "succeeded"


async def test_missing_windows_builds_are_named_with_their_versions(
    broker: Broker, registry: RegistryDouble
) -> None:
    source = plant_image(registry, "win", windows("10.0.26100.1"))
    options = leg(
        build("10.0.17763"), "windows(10.0.20348)/amd64", "windows(10.0.26100)/amd64", complete_in=1
    )
    names = ["windows(10.0.17763)/amd64", "windows(10.0.20348)/amd64"]
    made = await broker.create(f"{registry.host}/app:1", source, **options)
    assert made["missing_platforms"] == names
    assert made["expected_platforms"] == [*names, "windows(10.0.26100)/amd64"]
    waited = await broker.client.get(
        f"/v1/lists/{made['id']}", params={"wait_for": "complete"}, headers={"Prefer": "wait=30"}
    )
    assert check_problem(waited, 409, "list-incomplete")["missing_platforms"] == names
    again = await broker.call(
        "PATCH", f"/v1/lists/{made['id']}", {"expected_platforms": names, "complete_in": 60}
    )
    assert again["expected_platforms"] == names


async def test_a_newer_revision_replaces_the_image_of_its_build_and_no_other(
    broker: Broker, registry: RegistryDouble
) -> None:
    old, other, newer = (
        plant_image(registry, name, windows(version))
        for name, version in (("old", "10.0.20348.1"), ("other", "10.0.17763.1"), ("newer", "10.0.20348.2"))
    )
    draft = await broker.create(f"{registry.host}/app:1", old, other)
    await broker.push(draft["id"])
    body = {"sources": [newer], "insecure": True}
    amended = await broker.call("POST", f"/v1/lists/{draft['id']}/entries", body)
    versions = {entry["platform"]["os_version"]: entry["replaced"] for entry in amended["entries"]}
    assert versions == {"10.0.20348.2": windows("10.0.20348.1").digest, "10.0.17763.1": None}
    pushed = await broker.push(draft["id"])
    difference = pushed["targets"][0]["difference"]
    assert (difference["added"], difference["removed"]) == ([], [])
    assert [each["platform"] for each in difference["changed"]] == ["windows(10.0.20348.2)/amd64"]


async def test_a_tag_that_would_lose_one_windows_build_names_it(
    broker: Broker, registry: RegistryDouble
) -> None:
    both = [plant_image(registry, f"win{n}", windows(f"10.0.{n}.1")) for n in (17763, 20348)]
    await broker.push((await broker.create(f"{registry.host}/app:1", *both))["id"])
    less = await broker.create(f"{registry.host}/app:1", both[1], session="less")
    refused = await broker.push(less["id"], status=409)
    assert refused["platforms"] == ["windows(10.0.17763.1)/amd64"]
    pushed = await broker.push(less["id"], allow_shrink=True)
    (kept,) = (await broker.call("GET", "/v1/pushes?limit=1"))["items"]
    assert pushed["targets"][0]["difference"]["removed"] == ["windows(10.0.17763.1)/amd64"]
    assert kept["targets"][0]["difference"]["removed"] == ["windows(10.0.17763.1)/amd64"]


async def test_a_refresh_finds_the_newer_revision_of_a_selected_build(
    broker: Broker, registry: RegistryDouble
) -> None:
    builds = ("10.0.17763.1", "10.0.20348.1")
    source = plant_image(registry, "win", make_index([windows(version) for version in builds]))
    chosen = {"reference": source, "platforms": ["windows(10.0.20348.1)/amd64"]}
    draft = await broker.create(f"{registry.host}/app:1", chosen)
    plant_image(registry, "win", make_index([windows(f"{version}7") for version in builds]))
    refreshed = await broker.call("POST", f"/v1/lists/{draft['id']}/refresh", {"insecure": True})
    (entry,) = refreshed["entries"]
    assert entry["platform"]["os_version"] == "10.0.20348.17"
    assert entry["id"] == draft["entries"][0]["id"]
    missing = {"reference": source, "platforms": ["windows(10.0.26100)/amd64"]}
    body = {"reference": f"{registry.host}/app:2", "sources": [missing], "insecure": True}
    refused = await broker.call("POST", "/v1/lists", body, status=422)
    assert "windows(10.0.26100)/amd64. It has images for windows(10.0.17763.17)/amd64" in refused["detail"]
