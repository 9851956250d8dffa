"""Pushes that fail midway report the state of each target and the previous digests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from app.registry.limits import Limits
from tests.support.broker import Broker, StartBroker, check_problem
from tests.support.images import make_image, plant
from tests.support.planted_images import plant_images
from tests.support.registry import Hold, Meanwhile, RegistryDouble, Rule, Status

pytestmark = pytest.mark.slow

Json = dict[str, Any]
# The number of requests before an attempt fails.
TRIES = Limits().attempts
BUSY = Status.oci(503, "UNAVAILABLE")


@dataclass(frozen=True, slots=True)
class Afterwards(Status):
    """Misbehaves after another fault has ended."""

    other: Rule | None = None

    def concerns(self, request: web.BaseRequest) -> bool:
        return self.other is None or not self.other.active


@pytest.fixture
async def draft(broker: Broker, registry: RegistryDouble) -> Any:
    sources = plant_images(registry, "linux/amd64", "linux/arm64")
    return await broker.create(f"{registry.host}/app:1", *sources, tags=["latest"])


async def start_push(broker: Broker, draft: Json) -> Json:
    asked: Json = await broker.call(
        "POST", f"/v1/lists/{draft['id']}/push", {"insecure": True}, status=202, Prefer="respond-async"
    )
    return asked


async def follow(broker: Broker, operation: Json, reached: Callable[[Json], bool]) -> None:
    """Wait for an event."""
    async with broker.client.stream("GET", f"/v1/operations/{operation['id']}/events") as reply:
        async for line in reply.aiter_lines():
            if line.startswith("data:") and reached(json.loads(line.removeprefix("data:"))):
                return
    raise AssertionError("The operation ended before that")


def has_moved_a_tag(event: Json) -> bool:
    steps = event["progress"].get("steps", [])
    return {"name": "tags", "done": 1, "total": 2} in steps


def digests(draft: Json) -> list[str]:
    return [entry["descriptor"]["digest"] for entry in draft["entries"]]


async def test_a_tag_moved_by_a_failed_attempt_keeps_its_previous_digest_in_the_history(
    broker: Broker, registry: RegistryDouble, draft: Json
) -> None:
    first = await broker.push(draft["id"])
    await broker.call("DELETE", f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}")
    registry.misbehave(BUSY, method="PUT", path="/manifests/latest$", times=TRIES)
    registry.forget()
    second = await broker.push(draft["id"], allow_shrink=True)
    assert [put.tag for put in registry.tag_puts].count("1") == 2
    assert [len(target["difference"]["removed"]) for target in second["targets"]] == [1, 1]
    assert {target["reference"]: target["previous_digest"] for target in second["targets"]} == {
        f"{registry.host}/app:1": first["digest"],
        f"{registry.host}/app:latest": first["digest"],
    }
    found = await broker.call("GET", f"/v1/pushes/{second['id']}")
    assert found["targets"] == second["targets"]
    assert found["problem"] is None
    operation = await broker.call("GET", f"/v1/operations/{second['operation_id']}")
    assert (operation["attempts"], operation["result"]["targets"]) == (2, second["targets"])


async def test_a_tag_moved_by_others_between_attempts_is_reported_with_their_digest(
    broker: Broker, registry: RegistryDouble, draft: Json
) -> None:
    await broker.push(draft["id"])
    theirs = make_image(seed="theirs")
    busy = Meanwhile(503, happens=lambda: plant(registry, "app", "1", theirs))
    registry.misbehave(busy, method="PUT", path="/manifests/1$", times=TRIES)
    await broker.call("DELETE", f"/v1/lists/{draft['id']}/entries/{draft['entries'][0]['id']}")
    second = await broker.push(draft["id"], allow_shrink=True)
    reported = {target["reference"]: target["previous_digest"] for target in second["targets"]}
    assert reported == {
        f"{registry.host}/app:1": theirs.digest,
        f"{registry.host}/app:latest": draft["digest"],
    }


async def test_a_new_tag_has_no_previous_digest_after_several_attempts(
    broker: Broker, registry: RegistryDouble, draft: Json
) -> None:
    registry.misbehave(BUSY, method="PUT", path="/manifests/latest$", times=TRIES)
    pushed = await broker.push(draft["id"])
    assert [target["previous_digest"] for target in pushed["targets"]] == [None, None]


async def test_a_failed_push_reports_the_state_of_each_target(
    broker: Broker, registry: RegistryDouble, draft: Json
) -> None:
    registry.misbehave(BUSY, method="PUT", path="/manifests/latest$", times=None)
    reply = await broker.client.post(f"/v1/lists/{draft['id']}/push", json={"insecure": True})
    document = check_problem(reply, 502, "registry-unavailable")
    assert document["targets"] == [
        {
            "repository": f"{registry.host}/app",
            "blobs": {"done": 0, "total": 0} | document["targets"][0]["blobs"],
            "manifests": {"put": digests(draft), "present": [], "left": []},
            "tags": {"moved": ["1"], "left": ["latest"]},
        }
    ]
    (listed,) = (await broker.call("GET", "/v1/pushes"))["items"]
    found = await broker.call("GET", f"/v1/pushes/{listed['id']}")
    assert found == listed
    assert (found["state"], found["lines"]) == ("failed", [])
    assert [(each["reference"], each["action"]) for each in found["targets"]] == [
        (f"{registry.host}/app:1", "moved")
    ]
    about_the_call = {"instance", "operation_id"}
    kept = {name: value for name, value in document.items() if name not in about_the_call}
    assert found["problem"] == kept


async def test_one_target_that_can_not_be_staged_keeps_all_tags_unchanged(
    broker: Broker, registry: RegistryDouble
) -> None:
    async with RegistryDouble() as closed:
        closed.misbehave(Status.oci(403, "DENIED"), times=None)
        sources = plant_images(registry, "linux/amd64")
        draft = await broker.create(f"{registry.host}/app:1", *sources, targets=[f"{closed.host}/app:2"])
        reply = await broker.client.post(f"/v1/lists/{draft['id']}/push", json={"insecure": True})
    done, left = check_problem(reply, 403)["targets"]
    assert done["manifests"] == {"put": digests(draft), "present": [], "left": []}
    assert done["tags"] == {"moved": [], "left": ["1"]}
    assert left["manifests"] == {"put": [], "present": [], "left": digests(draft)}
    assert left["tags"] == {"moved": [], "left": ["2"]}


async def test_an_index_without_a_tag_is_reported_by_digest(
    broker: Broker, registry: RegistryDouble, draft: Json
) -> None:
    (source,) = plant_images(registry, "linux/amd64")
    plain = await broker.create(f"{registry.host}/plain:1", source)
    named = await broker.create(f"{registry.host}/plain@{plain['digest']}", source)
    registry.misbehave(BUSY, method="PUT", path=f"/manifests/{plain['digest']}$", times=None)
    reply = await broker.client.post(f"/v1/lists/{named['id']}/push", json={"insecure": True})
    (target,) = check_problem(reply, 502)["targets"]
    assert target["tags"] == {"moved": [], "left": [plain["digest"]]}


async def test_tags_moved_by_an_earlier_attempt_are_reported_when_the_last_attempt_fails_sooner(
    broker: Broker, registry: RegistryDouble, draft: Json
) -> None:
    busy = registry.misbehave(BUSY, method="PUT", path="/manifests/latest$", times=TRIES)
    closed = Afterwards(503, other=busy)
    registry.misbehave(closed, path="/manifests/sha256:", times=None)
    reply = await broker.client.post(f"/v1/lists/{draft['id']}/push", json={"insecure": True})
    (target,) = check_problem(reply, 502)["targets"]
    assert registry.tags("app") == {"1": draft["digest"]}
    assert target["tags"] == {"moved": ["1"], "left": ["latest"]}
    assert target["manifests"] == {"put": digests(draft), "present": [], "left": []}
    assert target["blobs"] == {"done": 6, "total": 6}


async def test_a_cancelled_push_reports_the_state_of_each_target(
    broker: Broker, registry: RegistryDouble, draft: Json
) -> None:
    registry.misbehave(Hold(), method="PUT", path="/manifests/latest$")
    operation = await start_push(broker, draft)
    await follow(broker, operation, has_moved_a_tag)
    await broker.call("POST", f"/v1/operations/{operation['id']}/cancel")
    assert (await broker.ended(operation["id"]))["state"] == "cancelled"
    found = await broker.call("GET", f"/v1/pushes/{operation['push_id']}")
    assert found["state"] == "cancelled"
    assert [(each["reference"], each["action"]) for each in found["targets"]] == [
        (f"{registry.host}/app:1", "moved")
    ]
    assert found["problem"]["type"] == "urn:manifest-broker:problem:operation-cancelled"
    (target,) = found["problem"]["targets"]
    assert target["tags"] == {"moved": ["1"], "left": ["latest"]}
    assert target["manifests"]["put"] == digests(draft)


async def test_a_push_cancelled_before_it_starts_puts_nothing(
    start_broker: StartBroker, registry: RegistryDouble
) -> None:
    broker = await start_broker()
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/manifests/1$")
    first = await start_push(broker, draft)
    await hold.reached.wait()
    second = await start_push(broker, draft)
    await broker.call("POST", f"/v1/operations/{second['id']}/cancel")
    hold.gate.set()
    assert (await broker.ended(first["id"]))["state"] == "succeeded"
    found = await broker.call("GET", f"/v1/pushes/{second['push_id']}")
    assert found["state"] == "cancelled"
    assert "targets" not in found["problem"]
