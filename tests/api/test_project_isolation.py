"""Projects with separate credentials for one registry do not share its content."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.broker import Broker, Client, check_problem, registry_auth
from tests.support.images import make_image, plant
from tests.support.registry import RegistryDouble, Status

pytestmark = pytest.mark.slow

USERS = {"alice": "alice's-5ecret", "bob": "bob's-5ecret"}
PRIVATE = make_image(seed="private")
Json = dict[str, Any]


@pytest.fixture
async def shared() -> AsyncIterator[RegistryDouble]:
    async with RegistryDouble(auth="bearer", users=USERS) as double:
        assert double.authority is not None
        for name in USERS:
            double.authority.grants[name] = {f"{name}/.*": {"pull", "push"}}
        plant(double, "alice/src", "1", PRIVATE)
        yield double


@pytest.fixture
async def bob(broker: Broker, shared: RegistryDouble) -> AsyncIterator[Client]:
    """Bob's project, after Alice's project has fetched, stored and pushed her image."""
    body = {"reference": f"{shared.host}/alice/app:1", "sources": [private(shared)], "insecure": True}
    async with broker.client_with(broker.token, **signed(shared, "alice")) as alice:
        made = await alice.post("/v1/lists", json=body)
        assert made.status_code == 201, made.text
        pushed = await alice.post(f"/v1/lists/{made.json()['id']}/push", json={"insecure": True})
        assert pushed.status_code == 200, pushed.text
    await broker.call("POST", "/v1/projects", {"name": "bob"}, status=201)
    shared.forget()
    async with broker.client_with(await broker.new_token("bob"), **signed(shared, "bob")) as client:
        yield client


def private(double: RegistryDouble) -> str:
    return f"{double.host}/alice/src@{PRIVATE.digest}"


def signed(double: RegistryDouble, name: str) -> dict[str, str]:
    credential = {"username": name, "password": USERS[name], "serveraddress": double.host}
    return {"X-Registry-Auth": registry_auth(credential)}


async def test_an_image_fetched_by_another_project_is_not_reused(shared: RegistryDouble, bob: Client) -> None:
    body = {"reference": f"{shared.host}/bob/app:1", "sources": [private(shared)], "insecure": True}
    check_problem(await bob.post("/v1/lists", json=body), 403, "registry-denied")
    query = {"reference": private(shared), "insecure": "true", "verbose": "true"}
    check_problem(await bob.get("/v1/inspect", params=query), 403, "registry-denied")
    assert not shared.blobs("bob/app")


async def test_layers_pushed_by_another_project_are_not_mounted(shared: RegistryDouble, bob: Client) -> None:
    """Bob knows the digests of Alice's layers and lists them in his own image."""
    shared.add_manifest("bob/src", "1", PRIVATE.raw, PRIVATE.media_type)
    shared.add_blob("bob/src", PRIVATE.config)
    shared.rules.anonymous_mount = False
    source = f"{shared.host}/bob/src:1"
    body = {"reference": f"{shared.host}/bob/app:1", "sources": [source], "insecure": True}
    made = await bob.post("/v1/lists", json=body)
    assert made.status_code == 201, made.text
    path = f"/v1/lists/{made.json()['id']}"
    plan = await bob.post(f"{path}/plan", json={"insecure": True})
    assert "alice" not in plan.text
    reply = await bob.post(f"{path}/push", json={"insecure": True})
    assert reply.status_code == 404, reply.text
    assert {r.query["from"] for r in shared.received("POST") if "from" in r.query} == {"bob/src"}
    layers = set(PRIVATE.blobs) - {PRIVATE.config_digest}
    assert not layers & shared.blobs("bob/app")
    assert not shared.tags("bob/app")


async def test_an_exhausted_rate_limit_of_one_project_does_not_block_others(
    broker: Broker, shared: RegistryDouble, bob: Client
) -> None:
    plant(shared, "bob/src", "1", make_image())
    shared.misbehave(Status(429, headers={"Retry-After": "3600"}), path="/alice/", times=None)
    async with broker.client_with(broker.token, **signed(shared, "alice")) as alice:
        query = {"reference": private(shared), "insecure": "true"}
        check_problem(await alice.get("/v1/inspect", params=query), 429, "rate-limited")
        asked = len(shared.received())
        check_problem(await alice.get("/v1/inspect", params=query), 429, "rate-limited")
        assert len(shared.received()) == asked
    source = f"{shared.host}/bob/src:1"
    body = {"reference": f"{shared.host}/bob/app:1", "sources": [source], "insecure": True}
    made = await bob.post("/v1/lists", json=body)
    assert made.status_code == 201, made.text
    pushed = await bob.post(f"/v1/lists/{made.json()['id']}/push", json={"insecure": True})
    assert pushed.status_code == 200, pushed.text
