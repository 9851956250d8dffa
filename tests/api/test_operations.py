"""Operations: wait, stream, cancel and repeat with an Idempotency-Key."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest

from app.operations.states import Kind
from tests.support.broker import Broker, Client, StartBroker, check_problem, registry_auth
from tests.support.planted_images import plant_images, wait_until_held
from tests.support.postgres import ask
from tests.support.registry import Hold, RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]


async def start_create(broker: Broker, registry: RegistryDouble, **headers: str) -> Any:
    """Create a list without waiting."""
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    return await broker.call("POST", "/v1/lists", body, status=202, Prefer="respond-async", **headers)


async def read_events(client: Client, path: str, last: str | None = None) -> list[Json]:
    """All events of a stream that ends by itself."""
    headers = {"Last-Event-ID": last} if last is not None else {}
    found: list[Json] = []
    async with client.stream("GET", path, headers=headers) as reply:
        assert reply.status_code == 200
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        event: Json = {}
        async for line in reply.aiter_lines():
            name, _, value = line.partition(": ")
            if not line and event:
                found.append(event)
                event = {}
            elif name in {"id", "event"}:
                event[name] = value
            elif name == "data":
                event["data"] = json.loads(value)
    return found


async def test_respond_async_returns_the_operation_at_once(broker: Broker, registry: RegistryDouble) -> None:
    hold = Hold()
    registry.misbehave(hold, method="GET", path="/manifests/")
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    reply = await broker.client.post("/v1/lists", json=body, headers={"Prefer": "respond-async"})
    assert reply.status_code == 202
    assert reply.headers["Preference-Applied"] == "respond-async"
    accepted = reply.json()
    assert reply.headers["Location"] == f"/v1/operations/{accepted['id']}"
    assert (accepted["kind"], accepted["result"], accepted["problem"]) == ("create", None, None)
    assert accepted["state"] in {"queued", "running"}
    await wait_until_held(hold)
    running = await broker.client.get(reply.headers["Location"])
    assert running.json()["state"] == "running"
    assert running.headers["Retry-After"]
    hold.gate.set()
    ended = await broker.ended(accepted["id"])
    assert ended["state"] == "succeeded"
    assert ended["result"] == await broker.call("GET", f"/v1/lists/{ended['result']['id']}")
    assert ended["progress"]["steps"] == [{"name": "sources", "done": 1, "total": 1}]


async def test_a_wait_that_is_too_short_returns_the_operation(
    broker: Broker, registry: RegistryDouble
) -> None:
    hold = Hold()
    registry.misbehave(hold, method="GET", path="/manifests/")
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    reply = await broker.client.post("/v1/lists", json=body, headers={"Prefer": "wait=1"})
    assert (reply.status_code, reply.headers["Preference-Applied"]) == (202, "wait=1")
    hold.gate.set()
    assert (await broker.ended(reply.json()["id"]))["state"] == "succeeded"


async def test_a_wait_that_is_long_enough_returns_the_result(
    broker: Broker, registry: RegistryDouble
) -> None:
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    reply = await broker.client.post("/v1/lists", json=body, headers={"Prefer": "wait=30, foo=bar"})
    assert (reply.status_code, reply.headers["Preference-Applied"]) == (201, "wait=30")


@pytest.mark.parametrize("header", ["wait=x", "wait=-1", "wait=1.5", "=", ",;", "wait", "wait=9999999999"])
async def test_an_unknown_preference_is_ignored(
    broker: Broker, registry: RegistryDouble, header: str
) -> None:
    """RFC 7240 §2."""
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    reply = await broker.client.post("/v1/lists", json=body, headers={"Prefer": header})
    assert reply.status_code == 201
    assert "Preference-Applied" not in reply.headers


async def test_a_result_does_not_claim_respond_async(broker: Broker, registry: RegistryDouble) -> None:
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    key = {"Idempotency-Key": "once"}
    assert (await broker.client.post("/v1/lists", json=body, headers=key)).status_code == 201
    again = await broker.client.post("/v1/lists", json=body, headers={**key, "Prefer": "respond-async"})
    assert again.status_code == 201
    assert "Preference-Applied" not in again.headers


async def test_get_operation_waits_for_its_end(broker: Broker, registry: RegistryDouble) -> None:
    hold = Hold()
    registry.misbehave(hold, method="GET", path="/manifests/")
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    accepted = await broker.call("POST", "/v1/lists", body, status=202, Prefer="respond-async")
    await wait_until_held(hold)
    path = f"/v1/operations/{accepted['id']}"
    early = await broker.client.get(path, headers={"Prefer": "wait=1"})
    assert (early.status_code, early.json()["state"]) == (200, "running")
    assert (early.headers["Preference-Applied"], early.headers["Retry-After"]) == ("wait=1", "1")
    waiting = asyncio.create_task(broker.client.get(path, headers={"Prefer": "wait=60"}))
    hold.gate.set()
    ended = await waiting
    assert (ended.json()["state"], ended.headers["Preference-Applied"]) == ("succeeded", "wait=60")


async def test_a_failed_operation_stores_the_problem_of_its_response(
    broker: Broker, registry: RegistryDouble
) -> None:
    body = {"reference": f"{registry.host}/app:1", "sources": [f"{registry.host}/no:1"], "insecure": True}
    reported = check_problem(await broker.client.post("/v1/lists", json=body), 404, "source-not-found")
    kept = (await broker.call("GET", f"/v1/operations/{reported['operation_id']}"))["problem"]
    assert kept == {name: reported[name] for name in reported if name not in {"instance", "operation_id"}}


async def test_the_event_stream_is_complete_and_resumes_after_an_id(
    broker: Broker, registry: RegistryDouble
) -> None:
    accepted = await start_create(broker, registry)
    path = f"/v1/operations/{accepted['id']}/events"
    events = await read_events(broker.client, path)
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("queued", "succeeded")
    assert "running" in kinds
    assert "progress" in kinds
    assert all(event["data"]["operation_id"] == accepted["id"] for event in events)
    identities = [int(event["id"]) for event in events]
    assert identities == sorted(set(identities))
    for position in range(len(events) - 1):
        rest = await read_events(broker.client, path, events[position]["id"])
        assert rest == events[position + 1 :]


async def test_a_stream_follows_a_running_operation(broker: Broker, registry: RegistryDouble) -> None:
    hold = Hold()
    registry.misbehave(hold, method="GET", path="/manifests/")
    accepted = await start_create(broker, registry)
    reading = asyncio.create_task(read_events(broker.client, f"/v1/operations/{accepted['id']}/events"))
    await wait_until_held(hold)
    assert not reading.done()
    hold.gate.set()
    assert (await reading)[-1]["event"] == "succeeded"


async def test_the_stream_of_a_failed_operation_ends_with_its_problem(
    broker: Broker, registry: RegistryDouble
) -> None:
    body = {"reference": f"{registry.host}/app:1", "sources": [f"{registry.host}/no:1"], "insecure": True}
    accepted = await broker.call("POST", "/v1/lists", body, status=202, Prefer="respond-async")
    last = (await read_events(broker.client, f"/v1/operations/{accepted['id']}/events"))[-1]
    assert last["event"] == "failed"
    assert last["data"]["problem"]["type"] == "urn:manifest-broker:problem:source-not-found"
    assert last["data"]["problem"]["status"] == 404


async def test_a_running_operation_can_be_cancelled(broker: Broker, registry: RegistryDouble) -> None:
    hold = Hold()
    registry.misbehave(hold, method="GET", path="/manifests/")
    accepted = await start_create(broker, registry)
    await wait_until_held(hold)
    await broker.call("POST", f"/v1/operations/{accepted['id']}/cancel")
    ended = await broker.ended(accepted["id"])
    assert (ended["state"], ended["result"], ended["cancel_requested"]) == ("cancelled", None, True)
    assert (await broker.call("GET", "/v1/lists"))["items"] == []
    reply = await broker.client.post(f"/v1/operations/{accepted['id']}/cancel")
    check_problem(reply, 409, "operation-ended")


async def test_waiting_for_a_cancelled_operation_returns_its_problem(
    broker: Broker, registry: RegistryDouble
) -> None:
    hold = Hold()
    registry.misbehave(hold, method="GET", path="/manifests/")
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    waiting = asyncio.create_task(broker.client.post("/v1/lists", json=body))
    await wait_until_held(hold)
    (operation,) = (await broker.call("GET", "/v1/operations?state=running"))["items"]
    await broker.call("POST", f"/v1/operations/{operation['id']}/cancel")
    check_problem(await waiting, 409, "operation-cancelled")


async def test_a_cancelled_push_moves_no_tag_and_is_in_the_history(
    broker: Broker, registry: RegistryDouble
) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    hold = Hold()
    registry.misbehave(hold, method="POST", path="/blobs/uploads/", times=None)
    path = f"/v1/lists/{draft['id']}/push"
    accepted = await broker.call("POST", path, {"insecure": True}, status=202, Prefer="respond-async")
    await wait_until_held(hold)
    await broker.call("POST", f"/v1/operations/{accepted['id']}/cancel")
    assert (await broker.ended(accepted["id"]))["state"] == "cancelled"
    assert (await broker.call("GET", f"/v1/pushes/{accepted['push_id']}"))["state"] == "cancelled"
    assert registry.tags("app") == {}


async def test_operations_can_be_paged_and_filtered(broker: Broker, registry: RegistryDouble) -> None:
    drafts = [await broker.create(f"{registry.host}/app:{n}") for n in range(3)]
    first = await broker.call("GET", f"/v1/operations?limit=2&kind={Kind.CREATE_LIST}&state=succeeded")
    second = await broker.call(
        "GET", f"/v1/operations?limit=2&kind={Kind.CREATE_LIST}&state=succeeded&cursor={first['next_cursor']}"
    )
    found = [each["result"]["id"] for each in (*first["items"], *second["items"])]
    assert found == [each["id"] for each in drafts[::-1]]
    assert second["next_cursor"] is None
    assert (await broker.call("GET", "/v1/operations?state=failed"))["items"] == []


async def test_unknown_operations_are_not_found(broker: Broker) -> None:
    path = f"/v1/operations/{uuid4()}"
    for method, where in (("GET", path), ("GET", f"{path}/events"), ("POST", f"{path}/cancel")):
        check_problem(await broker.client.request(method, where), 404, "operation-not-found")


# --- idempotency keys ---


async def test_the_same_key_with_the_same_body_is_the_same_operation(
    broker: Broker, registry: RegistryDouble
) -> None:
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    replies = [
        await broker.client.post("/v1/lists", json=body, headers={"Idempotency-Key": "run-1"})
        for _ in range(3)
    ]
    assert [reply.status_code for reply in replies] == [201] * 3
    assert len({reply.text for reply in replies}) == 1
    assert len((await broker.call("GET", "/v1/operations"))["items"]) == 1


async def test_the_same_key_at_the_same_moment_is_the_same_operation(
    broker: Broker, registry: RegistryDouble
) -> None:
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    headers = {"Idempotency-Key": "run-1"}
    replies = await asyncio.gather(
        *(broker.client.post("/v1/lists", json=body, headers=headers) for _ in range(8))
    )
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.text for reply in replies}) == 1


async def test_the_same_key_of_another_token_or_with_another_credential_is_rejected(
    broker: Broker, registry: RegistryDouble, database_url: str
) -> None:
    query = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    login = {"username": "user", "password": "canary-1-password", "serveraddress": registry.host}
    key = {"Idempotency-Key": "run-1"}
    first = {**key, "X-Registry-Auth": registry_auth(login)}
    assert (await broker.client.post("/v1/lists", json=query, headers=first)).status_code == 201
    for other in (key, {**key, "X-Registry-Auth": registry_auth({**login, "password": "canary-2-password"})}):
        reply = await broker.client.post("/v1/lists", json=query, headers=other)
        check_problem(reply, 422, "idempotency-key-reused")
    async with broker.client_with(await broker.new_token()) as colleague:
        reply = await colleague.post("/v1/lists", json=query, headers=first)
        check_problem(reply, 422, "idempotency-key-reused")
    # The same credential in another spelling of the header is the same request.
    again = {**key, "X-Registry-Auth": registry_auth(dict(reversed(login.items())))}
    assert (await broker.client.post("/v1/lists", json=query, headers=again)).status_code == 201
    stored = await ask(database_url, "SELECT encode(fingerprint, 'escape') FROM idempotency_keys")
    assert "canary" not in str(stored)


async def test_the_same_key_with_another_request_is_rejected(
    broker: Broker, registry: RegistryDouble
) -> None:
    draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    headers = {"Idempotency-Key": "run-1"}
    path = f"/v1/lists/{draft['id']}/push"
    first = await broker.client.post(path, json={"insecure": True}, headers=headers)
    assert first.status_code == 200
    others: list[tuple[str, Json]] = [
        (path, {"insecure": True, "purge": True}),
        (path.replace("/push", "/refresh"), {"insecure": True}),
        ("/v1/inspections", {"references": ["a"]}),
    ]
    for where, body in others:
        check_problem(
            await broker.client.post(where, json=body, headers=headers), 422, "idempotency-key-reused"
        )
    again = await broker.client.post(path, json={"insecure": True}, headers=headers)
    assert again.text == first.text


@pytest.mark.parametrize("what", ["entries", "refresh", "plan", "push", "restore", "inspections"])
async def test_every_route_that_starts_an_operation_supports_idempotency_keys(
    broker: Broker, registry: RegistryDouble, what: str
) -> None:
    sources = plant_images(registry, "linux/amd64", "linux/arm64")
    draft = await broker.create(f"{registry.host}/app:1", sources[0])
    pushed = await broker.push(draft["id"])
    path, body = {
        "entries": (f"/v1/lists/{draft['id']}/entries", {"sources": sources[1:]}),
        "restore": (f"/v1/pushes/{pushed['id']}/restore", {}),
        "inspections": ("/v1/inspections", {"references": sources}),
    }.get(what, (f"/v1/lists/{draft['id']}/{what}", {}))
    before = len((await broker.call("GET", "/v1/operations"))["items"])
    replies = [
        await broker.client.post(path, json={"insecure": True, **body}, headers={"Idempotency-Key": "once"})
        for _ in range(2)
    ]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].text == replies[1].text
    assert len((await broker.call("GET", "/v1/operations"))["items"]) == before + 1


async def test_a_failed_operation_is_returned_for_its_key(broker: Broker, registry: RegistryDouble) -> None:
    body = {"reference": f"{registry.host}/app:1", "sources": [f"{registry.host}/no:1"], "insecure": True}
    reported = [
        check_problem(await broker.client.post("/v1/lists", json=body, headers={"Idempotency-Key": "x"}), 404)
        for _ in range(2)
    ]
    assert reported[0] == reported[1]


async def test_a_rejected_request_does_not_use_its_key(broker: Broker, registry: RegistryDouble) -> None:
    headers = {"Idempotency-Key": "x"}
    check_problem(await broker.client.post("/v1/lists", json={"reference": "Bad Name"}, headers=headers), 422)
    body = {"reference": f"{registry.host}/app:1"}
    reply = await broker.client.post("/v1/lists", json=body, headers=headers)
    assert reply.status_code == 201


async def test_projects_have_separate_keys(broker: Broker, registry: RegistryDouble) -> None:
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    body = {"reference": f"{registry.host}/app:1"}
    headers = {"Idempotency-Key": "x"}
    mine = (await broker.client.post("/v1/lists", json=body, headers=headers)).json()
    async with broker.client_with(await broker.new_token("other")) as client:
        theirs = (await client.post("/v1/lists", json=body, headers=headers)).json()
    assert theirs["id"] != mine["id"]


@pytest.mark.parametrize("prefer", ["wait=10", "respond-async"])
async def test_an_operation_continues_after_its_caller_disconnects(
    broker: Broker, registry: RegistryDouble, prefer: str
) -> None:
    hold = Hold()
    registry.misbehave(hold, method="GET", path="/manifests/")
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    async with broker.client_with(broker.token) as client:
        calling = asyncio.create_task(client.post("/v1/lists", json=body, headers={"Prefer": prefer}))
        await wait_until_held(hold)
        calling.cancel()
    hold.gate.set()
    (operation,) = (await broker.call("GET", "/v1/operations"))["items"]
    assert (await broker.ended(operation["id"]))["state"] == "succeeded"


async def test_a_completed_stream_answers_204(broker: Broker, registry: RegistryDouble) -> None:
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "insecure": True,
    }
    accepted = await broker.call("POST", "/v1/lists", body, status=202, Prefer="respond-async")
    await broker.ended(accepted["id"])
    path = f"/v1/operations/{accepted['id']}/events"
    whole = await broker.client.get(path)
    ids = [line.removeprefix("id: ") for line in whole.text.splitlines() if line.startswith("id: ")]
    again = await broker.client.get(path, headers={"Last-Event-ID": ids[-1]})
    assert (again.status_code, again.content) == (204, b"")
    rest = await broker.client.get(path, headers={"Last-Event-ID": ids[-2]})
    assert f"id: {ids[-1]}" in rest.text


async def test_a_project_at_its_limit_gets_429_with_the_limit_and_a_time(
    start_broker: StartBroker, registry: RegistryDouble
) -> None:
    broker = await start_broker(worker=False, project_operations=2)
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    accepted = [await start_create(broker, registry) for _ in range(2)]
    for path, body in (
        ("/v1/lists", {"reference": f"{registry.host}/app:2", "sources": [f"{registry.host}/any:1"]}),
        ("/v1/inspections", {"references": [f"{registry.host}/any:1"]}),
    ):
        reply = await broker.client.post(path, json={**body, "insecure": True})
        problem = check_problem(reply, 429, "too-many-operations")
        assert problem["limit"] == 2
        assert int(reply.headers["Retry-After"]) > 0
    async with broker.client_with(await broker.new_token("other")) as stranger:
        asked = {"references": [f"{registry.host}/any:1"], "insecure": True}
        reply = await stranger.post("/v1/inspections", json=asked, headers={"Prefer": "respond-async"})
        assert reply.status_code == 202
    await broker.call("POST", f"/v1/operations/{accepted[0]['id']}/cancel")
    await start_create(broker, registry)


async def test_pushes_to_one_tag_get_429_at_their_own_limit(
    start_broker: StartBroker, registry: RegistryDouble
) -> None:
    broker = await start_broker(worker=False, tag_operations=2)
    worker = await start_broker()
    sources = plant_images(registry, "linux/amd64")
    draft = await worker.create(f"{registry.host}/app:1", *sources)
    hold = Hold()
    registry.misbehave(hold, times=None, method="PUT")
    path = f"/v1/lists/{draft['id']}/push"
    for _ in range(2):
        await broker.call("POST", path, {"insecure": True}, status=202, Prefer="respond-async")
    reply = await broker.client.post(path, json={"insecure": True})
    problem = check_problem(reply, 429, "too-many-pushes")
    assert (problem["limit"], problem["reference"]) == (2, draft["reference"])
    assert "Retry-After" in reply.headers
    further = {"insecure": True, "targets": [f"{registry.host}/app:2"]}
    check_problem(await broker.client.post(path, json=further), 429, "too-many-pushes")
    other = await worker.create(f"{registry.host}/app:2", *sources)
    again = f"/v1/lists/{other['id']}/push"
    await broker.call("POST", again, {"insecure": True}, status=202, Prefer="respond-async")
    hold.gate.set()


async def test_operations_that_hang_leave_a_slot_to_another_project(
    start_broker: StartBroker, registry: RegistryDouble
) -> None:
    broker = await start_broker(worker_concurrency=4)
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    (source,) = plant_images(registry, "linux/amd64")
    async with AsyncExitStack() as stack:
        # Each registry is a bulkhead of its own, so that no limit of a registry helps.
        hanging = [await stack.enter_async_context(RegistryDouble()) for _ in range(6)]
        reached = [Hold() for _ in hanging]
        for double, hold in zip(hanging, reached, strict=True):
            double.misbehave(hold, times=None)
            body = {"references": [f"{double.host}/any:1"], "insecure": True}
            await broker.call("POST", "/v1/inspections", body, status=202, Prefer="respond-async")
        for hold in reached[:3]:
            await wait_until_held(hold)
        stranger = await stack.enter_async_context(broker.client_with(await broker.new_token("other")))
        reply = await stranger.post("/v1/inspections", json={"references": [source], "insecure": True})
        assert reply.status_code == 200
        assert not any(hold.reached.is_set() for hold in reached[3:])
        for hold in reached:
            hold.gate.set()
        for hold in reached:
            await wait_until_held(hold)
