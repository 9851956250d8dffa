"""Each change of a list emits one event."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.planted_images import plant_images
from tests.support.registry import RegistryDouble, Status

pytestmark = pytest.mark.slow

Json = dict[str, Any]
BOTH = ["linux/amd64", "linux/arm64"]
LEG: Json = {"amend": True, "expected_platforms": BOTH, "push_when_complete": True}


async def all_events(broker: Broker) -> list[Json]:
    """All events so far, oldest first."""
    page = await broker.call("GET", "/v1/events/history?limit=200")
    return list(reversed(page["items"]))


async def kinds(broker: Broker) -> list[str]:
    return [event["type"] for event in await all_events(broker)]


async def test_a_fan_in_emits_an_event_for_each_step(broker: Broker, registry: RegistryDouble) -> None:
    sources = plant_images(registry, *BOTH)
    await broker.create(f"{registry.host}/app:1", sources[0], labels={"commit": "aaa"}, **LEG)
    last = await broker.create(f"{registry.host}/app:1", sources[1], **LEG)
    operation = await broker.ended(last["push_operation_id"])
    events = await all_events(broker)
    assert [event["type"] for event in events] == [
        "list.created",
        "list.changed",
        "list.completed",
        "list.pushed",
    ]
    assert events[0]["data"]["missing_platforms"] == ["linux/arm64"]
    assert events[2]["data"]["digest"] == last["digest"]
    pushed = events[3]["data"]
    assert (pushed["list_id"], pushed["push_id"]) == (last["id"], operation["push_id"])
    assert pushed["labels"] == {"commit": "aaa"}
    assert pushed["targets"] == [
        {
            "reference": f"{registry.host}/app:1",
            "digest": last["digest"],
            "action": "moved",
            "previous_digest": None,
            "difference": None,
        }
    ]


async def test_the_event_of_a_push_has_the_difference(broker: Broker, registry: RegistryDouble) -> None:
    first = await broker.create(f"{registry.host}/app:1", *plant_images(registry, *BOTH))
    await broker.push(first["id"])
    (newer,) = plant_images(registry, "linux/s390x")
    await broker.call("POST", f"/v1/lists/{first['id']}/entries", {"sources": [newer], "insecure": True})
    await broker.push(first["id"])
    pushes = [event for event in await all_events(broker) if event["type"] == "list.pushed"]
    assert len(pushes) == 2
    assert pushes[1]["data"]["targets"][0]["previous_digest"] == first["digest"]
    assert pushes[1]["data"]["targets"][0]["difference"]["added"] == ["linux/s390x"]


async def test_a_repeated_call_without_changes_emits_no_event(
    broker: Broker, registry: RegistryDouble
) -> None:
    (source,) = plant_images(registry, "linux/amd64")
    for _ in range(3):
        await broker.create(f"{registry.host}/app:1", source, **LEG)
    assert await kinds(broker) == ["list.created"]


async def test_the_event_of_a_failure_has_its_reason(broker: Broker, registry: RegistryDouble) -> None:
    await broker.create(f"{registry.host}/app:1", failures={"linux/arm64": "exit code 1"}, **LEG)
    events = await all_events(broker)
    assert [event["type"] for event in events] == ["list.created", "list.failed"]
    assert "exit code 1" in events[1]["data"]["problem"]["detail"]


async def test_a_missed_deadline_emits_one_event(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(
        f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"), complete_in=1, **LEG
    )
    reply = await broker.client.get(f"/v1/lists/{draft['id']}?wait_for=pushed", headers={"Prefer": "wait=30"})
    assert reply.status_code == 409
    assert await kinds(broker) == ["list.created", "list.failed"]


async def test_a_failed_push_emits_an_event_and_fails_its_list(
    broker: Broker, registry: RegistryDouble
) -> None:
    registry.misbehave(Status(403), times=None, method="PUT", path="/manifests/")
    last = await broker.create(f"{registry.host}/app:1", *plant_images(registry, *BOTH), **LEG)
    await broker.ended(last["push_operation_id"])
    events = await all_events(broker)
    assert [event["type"] for event in events][-2:] == ["push.failed", "list.failed"]
    assert events[-2]["data"]["problem"]["type"].endswith(":registry-denied")


async def test_a_deleted_or_purged_list_emits_an_event(broker: Broker, registry: RegistryDouble) -> None:
    sources = plant_images(registry, "linux/amd64")
    draft = await broker.create(f"{registry.host}/app:1", *sources)
    await broker.call("DELETE", f"/v1/lists/{draft['id']}", status=204)
    draft = await broker.create(f"{registry.host}/app:1", *sources)
    await broker.call("POST", "/v1/lists/delete", {"references": [draft["reference"]]})
    draft = await broker.create(f"{registry.host}/app:1", *sources)
    await broker.push(draft["id"], purge=True)
    removed = ["list.created", "list.removed"]
    assert await kinds(broker) == [*removed, *removed, "list.created", "list.pushed", "list.removed"]
