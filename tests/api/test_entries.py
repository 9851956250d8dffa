"""Entries: add, read, annotate and remove."""

from __future__ import annotations

import base64
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.broker import Broker, StartBroker, check_problem
from tests.support.images import make_image, make_image_for
from tests.support.planted_images import plant_image, plant_images
from tests.support.registry import RegistryDouble

Json = dict[str, Any]


@pytest.fixture
async def draft(broker: Broker, registry: RegistryDouble) -> Any:
    return await broker.create(
        f"{registry.host}/app:1", *plant_images(registry, "linux/amd64", "linux/arm64")
    )


def path_of(draft: Any, architecture: str) -> str:
    entry = next(each for each in draft["entries"] if each["platform"]["architecture"] == architecture)
    return f"/v1/lists/{draft['id']}/entries/{entry['id']}"


def platform_of(draft: Any, path: str) -> Any:
    return next(each for each in draft["entries"] if path.endswith(each["id"]))["platform"]


async def test_an_entry_has_its_exact_manifest(broker: Broker, registry: RegistryDouble) -> None:
    image = make_image(architecture="arm64", variant="v8", media="oci")
    source = plant_image(registry, "app-arm64", image)
    draft = await broker.create(f"{registry.host}/app:1", source)
    entry = await broker.call("GET", f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}")
    assert base64.b64decode(entry["raw"]) == image.raw
    assert entry["descriptor"]["digest"] == image.digest
    verbose = entry["inspection"]
    assert verbose["Ref"] == source
    assert base64.b64decode(verbose["Raw"]) == image.raw
    assert verbose["OCIManifest"] == entry["manifest"]


def readers() -> int:
    """The number of child processes that parse documents."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_ours = f"\nPPid:\t{os.getpid()}\n" in (process / "status").read_text()
            found += is_ours and b"parsing_process" in (process / "cmdline").read_bytes()
    return found


@pytest.mark.slow
async def test_a_large_manifest_is_parsed_without_blocking_other_requests(
    start_broker: StartBroker, registry: RegistryDouble
) -> None:
    """Two megabytes take a quarter of a second to parse, which would block the API."""
    image = make_image(extra={"annotations": {f"k{n}": "v" * 50 for n in range(30_000)}}, media="oci")
    source = plant_image(registry, "app-amd64", image)
    draft = await (await start_broker()).create(f"{registry.host}/app:1", source)
    api = await start_broker(worker=False)
    before = readers()
    entry = await api.call("GET", f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}")
    assert base64.b64decode(entry["raw"]) == image.raw
    assert entry["inspection"]["OCIManifest"] == entry["manifest"] == json.loads(image.raw)
    assert readers() == before + 1
    found = await api.call("GET", f"/v1/inspect?reference={draft['reference']}&verbose=true")
    assert found["images"] == [entry["inspection"]]


async def test_annotate_overwrites_the_given_members_and_null_clears(broker: Broker, draft: Any) -> None:
    path = path_of(draft, "arm64")
    body: Json = {"platform": {"variant": "v8", "os_version": "1.2", "os_features": ["a", "b", "a"]}}
    changed = await broker.call("PATCH", path, body)
    assert platform_of(changed, path) == {
        "os": "linux",
        "architecture": "arm64",
        "variant": "v8",
        "os_version": "1.2",
        "os_features": ["a", "b"],
    }
    cleared = await broker.call("PATCH", path, {"platform": {"variant": None, "os_features": None}})
    assert platform_of(cleared, path) == {
        "os": "linux",
        "architecture": "arm64",
        "variant": None,
        "os_version": "1.2",
        "os_features": [],
    }
    assert cleared["revision"] == changed["revision"] + 1
    resolved = next(each for each in cleared["entries"] if path.endswith(each["id"]))["resolved_platform"]
    assert resolved["os_version"] is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"architecture": "x86_64"}, ("amd64", None)),
        ({"architecture": "aarch64"}, ("arm64", None)),
        ({"architecture": "armhf"}, ("arm", "v7")),
        ({"architecture": "armhf", "variant": "v6"}, ("arm", "v6")),
        ({"architecture": "i686"}, ("386", None)),
        ("linux/aarch64", ("arm64", None)),
        ("linux/arm/v7", ("arm", "v7")),
    ],
)
async def test_platform_aliases_are_accepted(
    broker: Broker, registry: RegistryDouble, given: object, expected: tuple[str, str | None]
) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/s390x"))
    path = path_of(draft, "s390x")
    changed = await broker.call("PATCH", path, {"platform": given})
    platform = platform_of(changed, path)
    assert platform["architecture"] == expected[0]
    assert platform["variant"] in {expected[1], None if expected[1] is None else expected[1], "v8"}


@pytest.mark.parametrize(
    "pair", ["windows/arm64", "linux/loong64", "wasip1/wasm", "freebsd/riscv64", "aix/ppc64"]
)
async def test_platforms_that_docker_does_not_know_are_accepted(
    broker: Broker, draft: Any, pair: str
) -> None:
    path = path_of(draft, "arm64")
    changed = await broker.call("PATCH", path, {"platform": pair})
    platform = platform_of(changed, path)
    assert f"{platform['os']}/{platform['architecture']}" == pair


@pytest.mark.parametrize(
    "body", [{"os": "linux", "architecture": "bogus"}, {"os": "bogus"}, {"architecture": None}]
)
async def test_an_impossible_os_and_architecture_pair_is_rejected(
    broker: Broker, draft: Any, body: Json
) -> None:
    reply = await broker.client.patch(path_of(draft, "arm64"), json={"platform": body})
    check_problem(reply, 422, "unsupported-platform")
    assert await broker.call("GET", f"/v1/lists/{draft['id']}") == draft


async def test_an_unknown_variant_is_a_finding_not_an_error(broker: Broker, draft: Any) -> None:
    changed = await broker.call("PATCH", path_of(draft, "arm64"), {"platform": {"variant": "nonsense"}})
    (finding,) = changed["findings"]
    assert (finding["code"], finding["severity"]) == ("unknown-variant", "warning")
    assert changed["digest"] is not None


async def test_an_entry_without_a_platform_blocks_the_push_until_it_has_one(
    broker: Broker, registry: RegistryDouble
) -> None:
    bare = plant_image(registry, "bare", make_image(config=b"{}"))
    draft = await broker.create(f"{registry.host}/app:1", bare)
    assert draft["digest"] is None
    assert draft["findings"][0]["code"] == "platform-missing"
    reply = await broker.client.post(f"/v1/lists/{draft['id']}/push", json={"insecure": True})
    document = check_problem(reply, 409, "list-not-pushable")
    assert document["detail"].startswith(f"Manifest {bare} must have an OS and Architecture to be pushed")
    check_problem(await broker.client.get(f"/v1/lists/{draft['id']}/index"), 409, "list-not-pushable")
    path = f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}"
    assert (await broker.call("PATCH", path, {"platform": "linux/amd64"}))["digest"] is not None
    await broker.push(draft["id"])


async def test_annotating_to_a_platform_of_another_entry_is_a_conflict(broker: Broker, draft: Any) -> None:
    reply = await broker.client.patch(path_of(draft, "arm64"), json={"platform": "linux/amd64"})
    assert check_problem(reply, 409, "duplicate-platform")["errors"][0]["pointer"] == "/platform"


async def test_annotations_are_merged_and_make_the_index_oci(broker: Broker, draft: Any) -> None:
    path = path_of(draft, "arm64")
    await broker.call("PATCH", path, {"annotations": {"a": "1", "b": "2"}})
    changed = await broker.call("PATCH", path, {"annotations": {"a": None, "c": "3"}})
    entry = next(each for each in changed["entries"] if path.endswith(each["id"]))
    assert entry["annotations"] == entry["descriptor"]["annotations"] == {"b": "2", "c": "3"}
    assert changed["media_type"] == "application/vnd.oci.image.index.v1+json"


async def test_annotating_can_complete_and_publish_a_list(broker: Broker, registry: RegistryDouble) -> None:
    options: Json = {"expected_platforms": ["linux/arm/v6"], "push_when_complete": True}
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/arm/v7"), **options)
    assert draft["missing_platforms"] == ["linux/arm/v6"]
    changed = await broker.call("PATCH", path_of(draft, "arm"), {"platform": {"variant": "v6"}})
    assert (await broker.ended(changed["push_operation_id"]))["state"] == "succeeded"
    assert registry.tags("app") == {"1": changed["digest"]}


async def test_removing_an_entry_keeps_the_others(broker: Broker, draft: Any) -> None:
    path = path_of(draft, "arm64")
    left = await broker.call("DELETE", path)
    assert [each["platform"]["architecture"] for each in left["entries"]] == ["amd64"]
    assert await broker.call("GET", f"/v1/lists/{draft['id']}") == left
    check_problem(await broker.client.get(path), 404, "entry-not-found")
    check_problem(await broker.client.patch(path, json={}), 404, "entry-not-found")
    check_problem(await broker.client.delete(path), 404, "entry-not-found")


async def test_entries_of_unknown_lists_are_not_found(broker: Broker, draft: Any) -> None:
    entry = draft["entries"][0]["id"]
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        reply = await broker.client.request(method, f"/v1/lists/{uuid4()}/entries/{entry}", json=body)
        check_problem(reply, 404, "list-not-found")
    sources: Json = {"sources": ["a"]}
    check_problem(
        await broker.client.post(f"/v1/lists/{uuid4()}/entries", json=sources), 404, "list-not-found"
    )


async def test_several_sources_are_added_together(
    broker: Broker, registry: RegistryDouble, draft: Any
) -> None:
    new = [
        plant_image(registry, "x", make_image_for("linux/s390x")),
        plant_image(registry, "y", make_image_for("linux/386")),
    ]
    grown = await broker.call("POST", f"/v1/lists/{draft['id']}/entries", {"sources": new, "insecure": True})
    assert len(grown["entries"]) == 4
    assert grown["revision"] == draft["revision"] + 1
