"""Calls that wait end once their token is revoked, in every process, and its work ends if that is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from app.api import admission
from app.errors import Unauthenticated
from app.services.callers import Caller
from app.services.revocations import Revocations
from app.services.tokens import Tokens
from app.store.database import Database
from app.store.notifications import Notifications
from tests.support.broker import Broker, StartBroker, check_problem
from tests.support.operation_queue import PATIENCE_SECONDS, listening, until
from tests.support.planted_images import plant_images, wait_until_held
from tests.support.postgres import ask
from tests.support.registry import Hold, RegistryDouble

Json = dict[str, Any]
LONG = {"Prefer": "wait=300"}
NOWHERE = "registry.invalid"
NEVER = 1_000.0


def list_body(name: str) -> Json:
    return {"reference": f"{NOWHERE}/{name}:1", "sources": [f"{NOWHERE}/a:1"]}


async def test_every_waiting_call_ends_once_its_token_is_revoked(
    start_broker: StartBroker, database_url: str, registry: RegistryDouble
) -> None:
    (image,) = plant_images(registry, "linux/amd64")
    async with Broker(database_url) as working:
        made = await working.create(f"{registry.host}/list:1", image, expected_platforms=["linux/s390x"])
    processes = [await start_broker(worker=False) for _ in range(2)]
    broker = processes[0]
    queued = await broker.call("POST", "/v1/lists", list_body("queued"), status=202, Prefer="respond-async")
    token = await broker.call("POST", "/v1/tokens", {"name": "ci"}, status=201)
    async with asyncio.timeout(PATIENCE_SECONDS), AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(each.client_with(token["token"], **LONG)) for each in processes
        ]
        calls = [
            asyncio.create_task(call)
            for number, client in enumerate(clients)
            for call in (
                client.get(f"/v1/lists/{made['id']}", params={"wait_for": "complete"}),
                client.get(f"/v1/lists/{made['id']}", params={"wait_for": "pushed"}),
                client.get(f"/v1/operations/{queued['id']}"),
                client.get("/v1/inspect", params={"reference": f"{NOWHERE}/a:{number}"}),
                client.post("/v1/inspections", json={"references": [f"{NOWHERE}/a:1"]}),
                client.post(f"/v1/lists/{made['id']}/push", json={"insecure": True}),
                client.post("/v1/lists", json=list_body(f"posted-{number}")),
            )
        ]

        async def all_are_accepted() -> bool:
            found = await broker.call("GET", "/v1/operations?state=queued")
            return len(found["items"]) == 1 + 4 * len(processes)

        await until(all_are_accepted)
        await broker.call("DELETE", f"/v1/tokens/{token['id']}", status=204)
        for reply in await asyncio.gather(*calls):
            check_problem(reply, 401, "unauthenticated")


# --- the operations of a revoked token ---


async def revoke(broker: Broker, token: Json, query: str = "?cancel_operations=true") -> None:
    await broker.call("DELETE", f"/v1/tokens/{token['id']}{query}", status=204)


async def states(broker: Broker, *operations: Json) -> list[str]:
    return [(await broker.call("GET", f"/v1/operations/{each['id']}"))["state"] for each in operations]


async def test_only_the_unfinished_operations_of_the_token_are_cancelled(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False)
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    token = await broker.call("POST", "/v1/tokens", {"name": "ci", "project": "other"}, status=201)
    colleague = await broker.new_token("other", name="colleague")
    asynchronous = {"Prefer": "respond-async"}
    async with broker.client_with(token["token"]) as theirs, broker.client_with(colleague) as others:
        cancelled = (await theirs.post("/v1/lists", json=list_body("a"), headers=asynchronous)).json()
        kept = (await others.post("/v1/lists", json=list_body("b"), headers=asynchronous)).json()
        await revoke(broker, token)
        for operation, state in ((cancelled, "cancelled"), (kept, "queued")):
            assert (await others.get(f"/v1/operations/{operation['id']}")).json()["state"] == state


async def test_work_goes_on_unless_the_caller_wants_it_cancelled(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False)
    for query in ("", "?cancel_operations=false"):
        token = await broker.call("POST", "/v1/tokens", {"name": "ci"}, status=201)
        async with broker.client_with(token["token"], Prefer="respond-async") as client:
            accepted = (await client.post("/v1/lists", json=list_body("a"))).json()
        await revoke(broker, token, query)
        assert await states(broker, accepted) == ["queued"]


async def test_a_push_and_the_push_that_follows_a_leg_are_cancelled_before_a_tag_moves(
    start_broker: StartBroker, registry: RegistryDouble
) -> None:
    broker = await start_broker()
    images = plant_images(registry, "linux/amd64")
    token = await broker.call("POST", "/v1/tokens", {"name": "ci"}, status=201)
    hold = Hold()
    registry.misbehave(hold, method="POST", path="/blobs/uploads/", times=None)
    async with broker.client_with(token["token"], Prefer="respond-async") as client:
        made = await broker.create(f"{registry.host}/pushed:1", *images)
        pushed = (await client.post(f"/v1/lists/{made['id']}/push", json={"insecure": True})).json()
        due = {
            "reference": f"{registry.host}/due:1",
            "sources": images,
            "insecure": True,
            "expected_platforms": ["linux/amd64"],
            "push_when_complete": True,
        }
        await client.post("/v1/lists", json=due, headers={"Prefer": "wait=30"})
    await wait_until_held(hold)
    found = await broker.call("GET", "/v1/operations?kind=push")
    assert len(found["items"]) == 2
    await revoke(broker, token)
    hold.gate.set()
    for each in found["items"]:
        assert (await broker.ended(each["id"]))["state"] == "cancelled"
    assert await states(broker, pushed) == ["cancelled"]
    assert (registry.tags("pushed"), registry.tags("due")) == ({}, {})


async def test_no_tag_moves_once_the_cancellation_is_stored_even_if_its_notification_is_lost(
    start_broker: StartBroker, database_url: str, registry: RegistryDouble
) -> None:
    broker = await start_broker()
    made = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    hold = Hold()
    registry.misbehave(hold, method="POST", path="/blobs/uploads/", times=None)
    path = f"/v1/lists/{made['id']}/push"
    accepted = await broker.call("POST", path, {"insecure": True}, status=202, Prefer="respond-async")
    await wait_until_held(hold)
    await ask(
        database_url, "UPDATE operations SET cancel_requested = true WHERE state = 'running' RETURNING 1"
    )
    hold.gate.set()
    assert (await broker.ended(accepted["id"]))["state"] == "cancelled"
    assert registry.tags("app") == {}


async def test_a_request_whose_body_comes_after_the_revocation_is_refused(
    start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both what starts an operation and what changes a list at once."""
    monkeypatch.setattr(admission, "REVIEWED_AFTER_SECONDS", 0.0)
    broker = await start_broker(worker=False)
    token = await broker.call("POST", "/v1/tokens", {"name": "ci"}, status=201)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b" "
        begun.set()
        await go_on.wait()
        yield b"{}"

    async with broker.client_with(token["token"], **{"Content-Type": "application/json"}) as client:
        path = "/v1/lists/00000000-0000-0000-0000-000000000000"
        sending = asyncio.create_task(client.patch(path, content=body()))
        await begun.wait()
        # The broker has authenticated the call once it answers another one of the same client.
        assert (await client.get("/v1/lists")).status_code == 200
        await revoke(broker, token)
        go_on.set()
        check_problem(await sending, 401, "unauthenticated")


# --- the watch ---


@pytest.fixture
async def caller(database: Database) -> Caller:
    tokens = Tokens(database)
    await tokens.ensure_project("team")
    _, text = await tokens.create("team", "ci", admin=False)
    return await tokens.identify(text)


@asynccontextmanager
async def watch(
    database: Database, notifications: Notifications, interval: float = NEVER
) -> AsyncIterator[Revocations]:
    revocations = Revocations(database, notifications, interval=interval)
    running = asyncio.create_task(revocations.run())
    try:
        yield revocations
    finally:
        running.cancel()


async def wait_with(revocations: Revocations, caller: Caller, begun: asyncio.Event) -> None:
    async with revocations.unless_revoked(caller.token_id):
        begun.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("is_listening", [True, False])
async def test_a_revocation_is_noticed_with_and_without_its_notification(
    database_url: str, database: Database, caller: Caller, is_listening: bool
) -> None:
    begun = asyncio.Event()
    async with AsyncExitStack() as stack:
        notifications = Notifications("")
        if is_listening:
            notifications = await stack.enter_async_context(listening(database_url))
            await until(lambda: notifications.listening)
        revocations = await stack.enter_async_context(
            watch(database, notifications, NEVER if is_listening else 0.01)
        )
        waiting = asyncio.create_task(wait_with(revocations, caller, begun))
        await begun.wait()
        await Tokens(database).revoke(caller.token_id)
        with pytest.raises(Unauthenticated):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await waiting


async def test_a_call_that_begins_after_the_revocation_ends_too(database: Database, caller: Caller) -> None:
    await Tokens(database).revoke(caller.token_id)
    async with watch(database, Notifications(""), 0.01) as revocations:
        with pytest.raises(Unauthenticated):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await wait_with(revocations, caller, asyncio.Event())


async def test_an_outage_of_the_database_ends_nothing(
    database_url: str, database: Database, caller: Caller
) -> None:
    small = Database(database_url, pool_size=1, pool_wait=0.01)
    begun = asyncio.Event()
    async with watch(small, Notifications(""), 0.01) as revocations:
        waiting = asyncio.create_task(wait_with(revocations, caller, begun))
        await begun.wait()
        async with small.transaction():
            await Tokens(database).revoke(caller.token_id)
            await asyncio.sleep(0.1)
            assert not waiting.done()
        with pytest.raises(Unauthenticated):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await waiting
    await small.dispose()


async def test_errors_and_timeouts_of_the_block_stay_what_they_are(
    database: Database, caller: Caller
) -> None:
    revocations = Revocations(database, Notifications(""))
    for error in (TimeoutError("its own"), ValueError("its own")):
        with pytest.raises(type(error), match="its own"):
            async with revocations.unless_revoked(caller.token_id):
                raise error
    with pytest.raises(TimeoutError):
        async with revocations.unless_revoked(caller.token_id), asyncio.timeout(0):
            await asyncio.sleep(1)
