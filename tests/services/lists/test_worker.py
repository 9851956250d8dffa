"""A leg names what it has just pushed: a registry that lags is asked again, also for a tag."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.broker import Broker, StartBroker, check_problem
from tests.support.images import make_image, plant
from tests.support.registry import RegistryDouble, Status
from tests.support.registry_clients import QUICK

IMAGE = make_image(seed="lagging leg")
NOT_YET = Status.oci(404, "MANIFEST_UNKNOWN", "manifest unknown")
SOURCE = "/v2/src/manifests/"


@pytest.fixture
async def broker(start_broker: StartBroker) -> Broker:
    return await start_broker(limits=QUICK)


async def create(broker: Broker, registry: RegistryDouble, source: str, **members: object) -> Any:
    body = {"reference": f"{registry.host}/app:1", "sources": [source], "insecure": True, **members}
    return await broker.client.post("/v1/lists", json=body)


@pytest.mark.parametrize(
    "leg",
    [
        {"session": "run-1"},
        {"expected_platforms": ["linux/amd64"]},
        {"session": "run-1", "amend": True, "expected_platforms": ["linux/amd64"]},
    ],
)
@pytest.mark.parametrize("name", ["src:1", f"src@{IMAGE.digest}", f"src:1@{IMAGE.digest}"])
async def test_the_image_of_a_leg_is_asked_for_until_it_is_there(
    broker: Broker, registry: RegistryDouble, leg: dict[str, object], name: str
) -> None:
    plant(registry, "src", "1", IMAGE)
    registry.misbehave(NOT_YET, path=SOURCE, times=3)
    reply = await create(broker, registry, f"{registry.host}/{name}", **leg)
    assert reply.status_code == 201, reply.text


async def test_a_leg_that_adds_to_its_list_waits_for_its_tag(
    broker: Broker, registry: RegistryDouble
) -> None:
    plant(registry, "src", "1", IMAGE)
    made = await broker.create(f"{registry.host}/app:1", session="run-1")
    registry.misbehave(NOT_YET, path=SOURCE, times=3)
    body = {"sources": [f"{registry.host}/src:1"], "insecure": True}
    added = await broker.call("POST", f"/v1/lists/{made['id']}/entries", body)
    assert [entry["descriptor"]["digest"] for entry in added["entries"]] == [IMAGE.digest]


async def test_a_tag_that_never_comes_is_missing_in_the_end(broker: Broker, registry: RegistryDouble) -> None:
    reply = await create(broker, registry, f"{registry.host}/src:1", session="run-1")
    check_problem(reply, 404, "source-not-found")
    assert len(registry.received("GET", SOURCE)) == QUICK.lag_attempts


async def test_a_missing_tag_that_no_leg_names_is_asked_for_once(
    broker: Broker, registry: RegistryDouble
) -> None:
    check_problem(await create(broker, registry, f"{registry.host}/src:1"), 404, "source-not-found")
    made = await broker.create(f"{registry.host}/app:2")
    body = {"sources": [f"{registry.host}/src:1"], "insecure": True}
    await broker.call("POST", f"/v1/lists/{made['id']}/entries", body, status=404)
    assert len(registry.received("GET", SOURCE)) == 2


async def test_a_denied_tag_of_a_leg_is_asked_for_once(broker: Broker, registry: RegistryDouble) -> None:
    rule = registry.misbehave(Status.oci(403, "DENIED", "no"), path=SOURCE, times=None)
    reply = await create(broker, registry, f"{registry.host}/src:1", session="run-1")
    check_problem(reply, 403, "registry-denied")
    assert rule.hits == 1
