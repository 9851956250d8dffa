"""Each project has quotas, which it can read and which name themselves when they are reached."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.store.row_security.scopes import SYSTEM
from app.wiring import build_parts
from tests.support.broker import Broker, StartBroker, check_problem
from tests.support.planted_images import plant_images
from tests.support.postgres import ask
from tests.support.registry import RegistryDouble

Json = dict[str, Any]
PLATFORMS = ["linux/amd64", "linux/arm64", "linux/s390x"]


@pytest.fixture
def images(registry: RegistryDouble) -> list[str]:
    return plant_images(registry, *PLATFORMS)


async def used(broker: Broker) -> dict[str, int]:
    found = await broker.call("GET", "/v1/quota")
    return {name: each["used"] for name, each in found.items() if isinstance(each, dict)}


async def refuse(broker: Broker, method: str, path: str, body: Json, quota: str) -> Json:
    problem = check_problem(await broker.client.request(method, path, json=body), 403, "quota-exceeded")
    assert problem["quota"] == quota
    assert problem["used"] > problem["limit"]
    assert problem["remedy"] in problem["detail"]
    return problem


async def test_a_project_sees_its_own_use_and_limits(
    start_broker: StartBroker, registry: RegistryDouble, images: list[str]
) -> None:
    broker = await start_broker(quota_lists=7, quota_metadata_bytes=1_000, quota_webhooks=3, quota_tokens=5)
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    other = await broker.new_token("other")
    await broker.create(f"{registry.host}/list:1", *images, labels={"a": "b"})
    found = await broker.call("GET", "/v1/quota")
    assert found["project"] == "default"
    assert found["lists"] == {"used": 1, "limit": 7}
    assert found["metadata_bytes"] == {"used": len('"a": "b"'), "limit": 1_000}
    assert found["manifest_bytes"]["used"] > 0
    assert found["webhooks"] == {"used": 0, "limit": 3}
    assert found["tokens"] == {"used": 1, "limit": 5}
    assert found["events"]["used"] > 0
    async with broker.client_with(other) as stranger:
        document = (await stranger.get("/v1/quota")).json()
    assert document["project"] == "other"
    assert [document[name]["used"] for name in ("lists", "metadata_bytes", "manifest_bytes", "events")] == [
        0
    ] * 4


async def test_lists_are_limited_until_one_is_deleted(
    start_broker: StartBroker, registry: RegistryDouble, images: list[str]
) -> None:
    broker = await start_broker(quota_lists=2)
    made = [await broker.create(f"{registry.host}/list:{each}", images[0]) for each in range(2)]
    body = {"reference": f"{registry.host}/list:3", "sources": images, "insecure": True}
    problem = await refuse(broker, "POST", "/v1/lists", body, "lists")
    assert (problem["used"], problem["limit"]) == (3, 2)
    # What adds no list is still possible.
    await broker.create(f"{registry.host}/list:1", images[1], amend=True)
    await broker.call("DELETE", f"/v1/lists/{made[0]['id']}", status=204)
    await broker.create(f"{registry.host}/list:3", *images)
    assert (await used(broker))["lists"] == 2


async def test_the_bytes_of_labels_and_annotations_are_limited_wherever_they_are(
    start_broker: StartBroker, registry: RegistryDouble, images: list[str]
) -> None:
    broker = await start_broker(quota_metadata_bytes=1_000)
    made = await broker.create(f"{registry.host}/list:1", *images, labels={"a": "x" * 500})
    path, long = f"/v1/lists/{made['id']}", {"b": "x" * 600}
    entry = f"{path}/entries/{made['entries'][0]['id']}"
    body: Json = {"reference": f"{registry.host}/list:2", "sources": images, "insecure": True}
    for method, where, change in (
        ("PATCH", path, {"labels": long}),
        ("PATCH", path, {"annotations": long}),
        ("PATCH", entry, {"annotations": long}),
        ("POST", "/v1/lists", {**body, "labels": long}),
        ("POST", "/v1/lists", {**body, "annotations": long}),
        (
            "POST",
            f"{path}/entries",
            {"sources": [{"reference": images[0], "annotations": long}], "insecure": True},
        ),
    ):
        await refuse(broker, method, where, change, "metadata_bytes")
    before = await broker.call("GET", path)
    assert (before["labels"], before["annotations"]) == ({"a": "x" * 500}, {})
    # Less is always possible, also over a limit that the operator has lowered since.
    smaller = await start_broker(quota_metadata_bytes=10)
    await smaller.call("PATCH", path, {"labels": {"a": "x" * 400}})
    await refuse(smaller, "PATCH", path, {"labels": {"a": "x" * 401}}, "metadata_bytes")
    await smaller.call("PATCH", path, {"labels": {"a": None}})
    assert (await used(broker))["metadata_bytes"] == 0


async def test_the_bytes_of_manifests_are_limited(
    start_broker: StartBroker, database_url: str, registry: RegistryDouble, images: list[str]
) -> None:
    async with Broker(database_url) as broker:
        made = await broker.create(f"{registry.host}/list:1", images[0])
        limit = (await used(broker))["manifest_bytes"]
    small = await start_broker(quota_manifest_bytes=limit)
    # The same image again takes no more.
    await small.create(f"{registry.host}/list:2", images[0])
    assert (await used(small))["manifest_bytes"] == limit
    body = {"reference": f"{registry.host}/list:3", "sources": images, "insecure": True}
    await refuse(small, "POST", "/v1/lists", body, "manifest_bytes")
    more = {"sources": images, "insecure": True}
    await refuse(small, "POST", f"/v1/lists/{made['id']}/entries", more, "manifest_bytes")


async def test_tokens_and_webhooks_are_limited(start_broker: StartBroker) -> None:
    broker = await start_broker(quota_tokens=2, quota_webhooks=1)
    made = await broker.call("POST", "/v1/tokens", {"name": "ci"}, status=201)
    await refuse(broker, "POST", "/v1/tokens", {"name": "more"}, "tokens")
    await broker.call("DELETE", f"/v1/tokens/{made['id']}", status=204)
    await broker.call("POST", "/v1/tokens", {"name": "more"}, status=201)
    hook = {"url": "https://receiver.example.com/"}
    await broker.call("POST", "/v1/webhooks", hook, status=201)
    reply = await broker.client.post("/v1/webhooks", json=hook)
    problem = check_problem(reply, 409, "too-many-webhooks")
    assert (problem["quota"], problem["used"], problem["limit"]) == ("webhooks", 1, 1)


async def test_concurrent_writers_exceed_a_limit_by_their_number_at_most(
    start_broker: StartBroker, registry: RegistryDouble, images: list[str]
) -> None:
    limit, writers = 4, 3
    brokers = [await start_broker(quota_lists=limit, worker_concurrency=1) for _ in range(writers)]
    bodies = [
        {"reference": f"{registry.host}/list:{each}", "sources": images[:1], "insecure": True}
        for each in range(30)
    ]
    replies = await asyncio.gather(*(brokers[0].client.post("/v1/lists", json=body) for body in bodies))
    made = [reply for reply in replies if reply.status_code == 201]
    assert limit <= len(made) < limit + writers
    assert (await used(brokers[0]))["lists"] == len(made)
    assert {reply.json()["type"].rpartition(":")[2] for reply in replies if reply not in made} == {
        "quota-exceeded"
    }


async def test_the_count_stays_right_after_every_kind_of_removal(
    start_broker: StartBroker, database_url: str, registry: RegistryDouble, images: list[str]
) -> None:
    broker = await start_broker()
    keep: Json = {"labels": {"a": "b"}, "annotations": {"c": "d"}}
    source = {"reference": images[1], "annotations": {"e": "f"}}
    kept = await broker.create(f"{registry.host}/kept:1", images[0], source, **keep)
    after_one = await used(broker)
    deleted, expired, purged, referenced = [
        await broker.create(f"{registry.host}/{name}:1", images[0], source, **keep)
        for name in ("deleted", "expired", "purged", "referenced")
    ]
    assert (await used(broker))["metadata_bytes"] == 5 * after_one["metadata_bytes"]
    await broker.call("DELETE", f"/v1/lists/{deleted['id']}", status=204)
    await broker.call("POST", "/v1/lists/delete", {"references": [referenced["reference"]]})
    await broker.push(purged["id"], purge=True)
    await ask(
        database_url,
        f"UPDATE lists SET expires_at = now() - interval '1 hour' WHERE id = '{expired['id']}' RETURNING 1",
    )
    parts = build_parts(broker.settings, database_url)
    try:
        for chore in parts.chores:
            async with parts.database.transaction(SYSTEM) as tx:
                await chore(tx)
    finally:
        await parts.database.dispose()
    found = await used(broker)
    assert {name: found[name] for name in ("lists", "metadata_bytes", "manifest_bytes")} == {
        name: after_one[name] for name in ("lists", "metadata_bytes", "manifest_bytes")
    }
    assert (await broker.call("GET", "/v1/lists"))["items"][0]["id"] == kept["id"]
