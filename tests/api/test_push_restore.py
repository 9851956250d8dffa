"""A restore pushes the exact bytes of an earlier push to its tags."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.broker import Broker, check_problem
from tests.support.planted_images import plant_images
from tests.support.registry import RegistryDouble, Status

pytestmark = pytest.mark.slow

Json = dict[str, Any]


async def release(broker: Broker, registry: RegistryDouble, name: str, *platforms: str) -> Any:
    """A run after the push of its list."""
    sources = plant_images(registry, *platforms, tag=name, seed=name)
    draft = await broker.create(f"{registry.host}/app:1", *sources, session=name, tags=["latest"])
    return await broker.push(draft["id"], allow_shrink=True)


async def restore(broker: Broker, push_id: str, status: int = 200, **members: object) -> Any:
    body = {"insecure": True, **members}
    return await broker.call("POST", f"/v1/pushes/{push_id}/restore", body, status=status)


async def test_a_restore_moves_all_tags_back(broker: Broker, registry: RegistryDouble) -> None:
    good = await release(broker, registry, "good", "linux/amd64")
    bad = await release(broker, registry, "bad", "linux/amd64", "linux/arm64")
    raw = registry.get_manifest("app", good["digest"])
    restored = await restore(broker, good["id"])
    assert registry.tags("app") == {"1": good["digest"], "latest": good["digest"]}
    assert registry.get_manifest("app", "1") == raw
    assert (restored["restores"], restored["digest"]) == (good["id"], good["digest"])
    assert {target["previous_digest"] for target in restored["targets"]} == {bad["digest"]}
    assert restored["targets"][0]["difference"]["removed"] == ["linux/arm64"]


async def test_a_restore_puts_manifests_that_were_garbage_collected(
    broker: Broker, registry: RegistryDouble
) -> None:
    good = await release(broker, registry, "good", "linux/amd64")
    await release(broker, registry, "bad", "linux/amd64")
    for manifest in good["targets"][0]["manifests"]:
        del registry.content.at("app").manifests[manifest["digest"]]
    del registry.content.at("app").manifests[good["digest"]]
    restored = await restore(broker, good["id"])
    assert registry.tags("app")["1"] == good["digest"]
    assert [each["action"] for each in restored["targets"][0]["manifests"]] == ["put"]
    assert registry.partial_tag_puts == []


async def test_a_restore_copies_blobs_that_were_collected_from_images_that_stayed(
    broker: Broker, registry: RegistryDouble
) -> None:
    good = await release(broker, registry, "good", "linux/amd64")
    await release(broker, registry, "bad", "linux/amd64")
    (manifest,) = good["targets"][0]["manifests"]
    blobs = json.loads(registry.get_manifest("app", manifest["digest"])[1])
    lost = [blobs["config"]["digest"], blobs["layers"][0]["digest"]]
    for digest in lost:
        del registry.content.at("app").blobs[digest]
    restored = await restore(broker, good["id"])
    assert set(lost) <= registry.blobs("app")
    assert restored["targets"][0]["blobs"]["mounted"] >= len(lost)
    assert registry.partial_tag_puts == []


async def test_a_push_can_be_restored_after_its_list_is_deleted(
    broker: Broker, registry: RegistryDouble
) -> None:
    good = await release(broker, registry, "good", "linux/amd64")
    await release(broker, registry, "bad", "linux/amd64")
    await broker.call("DELETE", f"/v1/lists/{good['list_id']}", status=204)
    await restore(broker, good["id"])
    assert registry.tags("app")["1"] == good["digest"]


async def test_an_older_run_does_not_undo_a_restore(broker: Broker, registry: RegistryDouble) -> None:
    good = await release(broker, registry, "good", "linux/amd64")
    late = await broker.create(
        f"{registry.host}/app:1",
        *plant_images(registry, "linux/amd64", seed="late", tag="late"),
        session="late",
    )
    await release(broker, registry, "bad", "linux/amd64")
    await restore(broker, good["id"])
    reported = await broker.push(late["id"], status=409)
    assert reported["type"].endswith(":superseded")


async def test_a_late_leg_of_the_restored_run_does_not_undo_the_restore(
    broker: Broker, registry: RegistryDouble
) -> None:
    good = await release(broker, registry, "good", "linux/amd64")
    await release(broker, registry, "bad", "linux/amd64")
    await restore(broker, good["id"])
    (late,) = plant_images(registry, "linux/amd64", tag="late", seed="late")
    await broker.call("POST", f"/v1/lists/{good['list_id']}/entries", {"sources": [late], "insecure": True})
    reported = await broker.push(good["list_id"], status=409)
    assert reported["type"].endswith(":superseded")


async def test_a_restore_leaves_the_tags_that_its_push_left(broker: Broker, registry: RegistryDouble) -> None:
    old, new = [
        await broker.create(
            f"{registry.host}/app:{name}",
            *plant_images(registry, "linux/amd64", tag=name, seed=name),
            session=name,
            tags=["latest"],
        )
        for name in ("1.0", "2.0")
    ]
    await broker.push(new["id"])
    pushed = await broker.push(old["id"])
    restored = await restore(broker, pushed["id"])
    assert [target["reference"] for target in restored["targets"]] == [f"{registry.host}/app:1.0"]
    assert registry.tags("app")["latest"] == new["digest"]


async def test_a_restore_can_require_the_current_digest(broker: Broker, registry: RegistryDouble) -> None:
    good = await release(broker, registry, "good", "linux/amd64")
    bad = await release(broker, registry, "bad", "linux/amd64")
    await restore(broker, good["id"], status=409, if_digest="sha256:" + "0" * 64)
    assert registry.tags("app")["1"] == bad["digest"]
    await restore(broker, good["id"], if_digest=bad["digest"])
    assert registry.tags("app")["1"] == good["digest"]


async def test_a_restore_is_in_the_history_and_in_the_events(
    broker: Broker, registry: RegistryDouble
) -> None:
    good = await release(broker, registry, "good", "linux/amd64")
    await release(broker, registry, "bad", "linux/amd64")
    restored = await restore(broker, good["id"])
    history = await broker.call("GET", "/v1/pushes")
    assert history["items"][0]["id"] == restored["id"]
    events = await broker.call("GET", "/v1/events/history?type=list.pushed")
    assert events["items"][0]["data"]["restores"] == good["id"]
    shown = await broker.client.get(f"/v1/pushes/{restored['id']}/index")
    assert shown.headers["Docker-Content-Digest"] == good["digest"]
    assert shown.content == registry.get_manifest("app", "1")[1]


async def test_only_a_successful_push_can_be_restored(broker: Broker, registry: RegistryDouble) -> None:
    registry.misbehave(Status(403), times=None, method="PUT", path="/manifests/")
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    await broker.push(draft["id"], status=403)
    (failed,) = (await broker.call("GET", "/v1/pushes"))["items"]
    reported = await restore(broker, failed["id"], status=409)
    assert reported["type"].endswith(":push-not-restorable")


async def test_a_push_of_another_project_is_not_found(broker: Broker, registry: RegistryDouble) -> None:
    good = await release(broker, registry, "good", "linux/amd64")
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    async with broker.client_with(await broker.new_token("other")) as stranger:
        reply = await stranger.post(f"/v1/pushes/{good['id']}/restore", json={})
        check_problem(reply, 404, "push-not-found")
        check_problem(await stranger.get(f"/v1/pushes/{good['id']}/index"), 404, "push-not-found")
