"""Webhook deliveries: each event reaches its receiver at least once."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from app.lists.events import EventKind
from app.operations.retries import RetryPolicy
from app.store.database import Database
from tests.support.broker import Broker, StartBroker, check_problem, new_token
from tests.support.openapi_contract import document as contract
from tests.support.openapi_contract import validator
from tests.support.operation_queue import until
from tests.support.postgres import ask, execute
from tests.support.projects import Project, find_project
from tests.support.webhook_receiver import Message, Receiver, answering, hang, hang_up

pytestmark = pytest.mark.slow

PATH = "/v1/webhooks"
ANOTHER_KEY = base64.b64encode(b"j" * 32).decode()
FAILING = answering(500, b"what a receiver says when it fails")


async def gone_when_released(receiver: Receiver, request: web.Request) -> web.StreamResponse:
    await receiver.released.wait()
    return web.Response(status=410)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture
async def project(broker: Broker, database: Database, database_url: str) -> Project:
    return await find_project(database, database_url)


async def hook_at(broker: Broker, receiver: Receiver, **members: object) -> Any:
    return await broker.call("POST", PATH, {"url": receiver.url, **members}, status=201)


async def deliveries(broker: Broker, hook: Any, query: str = "") -> list[Any]:
    found = await broker.call("GET", f"{PATH}/{hook['id']}/deliveries?limit=200{query}")
    items: list[Any] = found["items"]
    return items


async def settled(broker: Broker, hook: Any, number: int) -> list[Any]:
    """The deliveries, once this many have ended."""

    async def have_ended() -> bool:
        states = [delivery["state"] for delivery in await deliveries(broker, hook)]
        return len(states) - states.count("pending") == number

    await until(have_ended)
    return await deliveries(broker, hook)


def names_of(messages: list[Message], secret: str) -> list[str]:
    return sorted(message.verified(secret)["data"]["labels"]["name"] for message in messages)


async def test_an_event_is_posted_as_standard_webhooks_specifies(
    broker: Broker, project: Project, receiver: Receiver
) -> None:
    hook = await hook_at(broker, receiver)
    await project.record_events("a", kind=EventKind.LIST_PUSHED)
    (delivery,) = await settled(broker, hook, 1)
    (message,) = receiver.accepted
    document = message.verified(hook["secret"])
    (event,) = (await broker.call("GET", "/v1/events/history"))["items"]
    assert document == {name: event[name] for name in ("type", "timestamp", "data")}
    assert document["type"] == "list.pushed"
    announced = contract()["webhooks"]["event"]["post"]
    assert {parameter["name"] for parameter in announced["parameters"]} <= {
        name.lower() for name in message.headers
    }
    schema = announced["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert list(validator(schema).iter_errors(document)) == []
    assert message.headers["Content-Type"] == "application/json"
    assert message.id == delivery["id"]
    assert (delivery["state"], delivery["attempts"], delivery["last_status"]) == ("delivered", 1, 204)
    assert (delivery["event_id"], delivery["event_type"]) == (event["id"], "list.pushed")
    assert delivery["delivered_at"] is not None
    assert await broker.call("GET", f"{PATH}/{hook['id']}/deliveries/{delivery['id']}") == delivery


async def test_a_receiver_with_transient_failures_gets_every_event(
    start_broker: StartBroker, database: Database, database_url: str, receiver: Receiver
) -> None:
    broker = await start_broker(webhook_seconds=1.0)
    project = await find_project(database, database_url)
    hook = await hook_at(broker, receiver)
    replies = [FAILING, hang, hang_up, answering(302, Location="/elsewhere"), answering(404), answering(503)]
    receiver.then(*random.Random(7).choices(replies, k=40))
    expected = [f"event {number:02}" for number in range(20)]
    for name in expected:
        await project.record_events(name)
    found = await settled(broker, hook, 20)
    assert {delivery["state"] for delivery in found} == {"delivered"}
    # More on a slow machine, where a receiver that does not hang seems to hang and gets the event again.
    assert sum(delivery["attempts"] for delivery in found) >= 60
    assert sorted(set(names_of(receiver.accepted, hook["secret"]))) == expected
    # Each request, failed ones included, was signed for its own event.
    by_id = {message.id: message.body for message in receiver.received}
    assert len(by_id) == 20
    assert all(by_id[message.id] == message.body for message in receiver.received)
    assert all(message.verified(hook["secret"]) for message in receiver.received)


async def test_a_lost_reply_repeats_the_same_delivery(
    broker: Broker, project: Project, receiver: Receiver
) -> None:
    hook = await hook_at(broker, receiver)
    receiver.then(hang_up)
    await project.record_events("a")
    await settled(broker, hook, 1)
    first, again = receiver.received
    assert (first.id, first.body) == (again.id, again.body)


async def test_a_delivery_survives_a_restart(
    database: Database, database_url: str, receiver: Receiver
) -> None:
    token = new_token()
    receiver.usual = hang
    async with Broker(database_url, token=token, stop_seconds=0.1) as broker:
        hook = await hook_at(broker, receiver)
        await (await find_project(database, database_url)).record_events("a")
        await until(lambda: len(receiver.received) == 1)
    receiver.usual = answering(204)
    async with Broker(database_url, token=token) as broker:
        (delivery,) = await settled(broker, hook, 1)
    assert delivery["state"] == "delivered"
    assert {message.id for message in receiver.received} == {delivery["id"]}


async def test_a_webhook_gets_only_its_types(broker: Broker, project: Project, receiver: Receiver) -> None:
    everything = await hook_at(broker, receiver)
    pushes = await hook_at(broker, receiver, types=["list.pushed", "push.failed"])
    await project.record_events("changed")
    await project.record_events("pushed", kind=EventKind.LIST_PUSHED)
    await settled(broker, everything, 2)
    (delivery,) = await settled(broker, pushes, 1)
    assert delivery["event_type"] == "list.pushed"


async def test_an_event_of_a_rolled_back_transaction_is_not_delivered(
    broker: Broker, database: Database, project: Project, receiver: Receiver
) -> None:
    hook = await hook_at(broker, receiver)
    async with database.transaction() as tx:
        await project.record(tx, "never")
        await tx.rollback()
    await project.record_events("once")
    await settled(broker, hook, 1)
    assert names_of(receiver.received, hook["secret"]) == ["once"]


async def test_events_of_other_projects_are_not_delivered(
    broker: Broker, database: Database, database_url: str, receiver: Receiver
) -> None:
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    hook = await hook_at(broker, receiver)
    await (await find_project(database, database_url, "other")).record_events("theirs")
    await (await find_project(database, database_url)).record_events("mine")
    await settled(broker, hook, 1)
    assert names_of(receiver.received, hook["secret"]) == ["mine"]


async def test_the_response_body_of_a_receiver_is_neither_stored_nor_shown(
    database_url: str, database: Database, receiver: Receiver
) -> None:
    receiver.usual = FAILING
    async with Broker(database_url, delivery=RetryPolicy(max_attempts=2, base=0.01)) as broker:
        hook = await hook_at(broker, receiver)
        await (await find_project(database, database_url)).record_events("a")
        (delivery,) = await settled(broker, hook, 1)
        operation = await broker.client.get(f"/v1/operations/{delivery['operation_id']}")
        events = await broker.client.get(f"/v1/operations/{delivery['operation_id']}/events")
    assert (delivery["state"], delivery["attempts"], delivery["last_status"]) == ("failed", 2, 500)
    assert delivery["problem"]["type"] == "urn:manifest-broker:problem:delivery-failed"
    assert delivery["problem"]["upstream_status"] == 500
    assert "says" not in f"{delivery}{operation.text}{events.text}"


async def test_retry_after_of_a_receiver_is_honoured(
    database_url: str, database: Database, receiver: Receiver
) -> None:
    receiver.usual = answering(503, Retry_After="120")
    async with Broker(database_url, delivery=RetryPolicy()) as broker:
        hook = await hook_at(broker, receiver)
        await (await find_project(database, database_url)).record_events("a")

        async def is_put_off() -> bool:
            (delivery,) = await deliveries(broker, hook)
            return bool(delivery["attempts"] == 1 and delivery["next_at"])

        await until(is_put_off)
        (delivery,) = await deliveries(broker, hook)
    created, coming = (datetime.fromisoformat(delivery[name]) for name in ("created_at", "next_at"))
    assert coming - created >= timedelta(seconds=120)
    assert delivery["state"] == "pending"


async def test_a_410_disables_the_webhook(broker: Broker, project: Project, receiver: Receiver) -> None:
    hook = await hook_at(broker, receiver)
    receiver.then(answering(410))
    await project.record_events("a")
    (delivery,) = await settled(broker, hook, 1)
    assert (delivery["state"], delivery["attempts"]) == ("failed", 1)
    assert delivery["problem"]["type"].endswith(":receiver-gone")
    assert not (await broker.call("GET", f"{PATH}/{hook['id']}"))["enabled"]
    await project.record_events("b")
    assert len(await deliveries(broker, hook)) == 1
    reply = await broker.client.post(f"{PATH}/{hook['id']}/deliveries/{delivery['id']}/replay")
    check_problem(reply, 409, "webhook-disabled")


async def test_a_410_of_the_old_url_does_not_disable_a_webhook_with_a_new_url(
    broker: Broker, project: Project, receiver: Receiver
) -> None:
    hook = await hook_at(broker, receiver)
    receiver.usual = gone_when_released
    await project.record_events("a")
    await until(lambda: len(receiver.received) == 1)
    async with Receiver() as other:
        await broker.call("PATCH", f"{PATH}/{hook['id']}", {"url": other.url})
        receiver.released.set()
        await settled(broker, hook, 1)
        assert (await broker.call("GET", f"{PATH}/{hook['id']}"))["enabled"]
        await project.record_events("b")
        await settled(broker, hook, 2)
    assert names_of(other.accepted, hook["secret"]) == ["b"]


async def test_a_webhook_that_is_disabled_gets_no_pending_events(
    database_url: str, database: Database, receiver: Receiver
) -> None:
    token = new_token()
    async with Broker(database_url, token=token, worker=False) as broker:
        disabled, removed, kept = [await hook_at(broker, receiver) for _ in range(3)]
        await (await find_project(database, database_url)).record_events("a")
        await broker.call("PATCH", f"{PATH}/{disabled['id']}", {"enabled": False})
        await broker.call("DELETE", f"{PATH}/{removed['id']}", status=204)
    async with Broker(database_url, token=token) as broker:
        (delivery,) = await settled(broker, disabled, 1)
        await settled(broker, kept, 1)
        operations = (await broker.call("GET", "/v1/operations?kind=deliver"))["items"]
    assert len(receiver.received) == 1
    assert (delivery["state"], delivery["attempts"]) == ("failed", 0)
    assert delivery["problem"]["type"].endswith(":webhook-disabled")
    assert sorted(each["state"] for each in operations) == ["failed", "failed", "succeeded"]


async def test_a_replay_goes_to_the_current_url(broker: Broker, project: Project, receiver: Receiver) -> None:
    receiver.usual = FAILING
    hook = await hook_at(broker, receiver)
    await project.record_events("a")
    await until(lambda: len(receiver.received) > 0)
    async with Receiver() as other:
        await broker.call("PATCH", f"{PATH}/{hook['id']}", {"url": other.url})
        (delivery,) = await settled(broker, hook, 1)
        assert [message.id for message in other.accepted] == [delivery["id"]]


async def test_a_replay_has_the_same_id_and_body(
    database_url: str, database: Database, receiver: Receiver
) -> None:
    receiver.usual = FAILING
    async with Broker(database_url, delivery=RetryPolicy(max_attempts=1)) as broker:
        hook = await hook_at(broker, receiver)
        await (await find_project(database, database_url)).record_events("a")
        (failed,) = await settled(broker, hook, 1)
        receiver.usual = answering(204)
        path = f"{PATH}/{hook['id']}/deliveries/{failed['id']}/replay"
        again = await broker.call("POST", path, status=202)
        assert (again["state"], again["id"]) == ("pending", failed["id"])
        (delivery,) = await settled(broker, hook, 1)
        assert (delivery["state"], delivery["attempts"], delivery["problem"]) == ("delivered", 2, None)
        await broker.call("POST", path, status=202)
        await until(lambda: len(receiver.accepted) == 2)
    assert len({(message.id, message.body) for message in receiver.received}) == 1


async def test_a_pending_delivery_can_not_be_replayed(
    start_broker: StartBroker, database: Database, database_url: str, receiver: Receiver
) -> None:
    broker = await start_broker(worker=False)
    hook = await hook_at(broker, receiver)
    await (await find_project(database, database_url)).record_events("a")
    (delivery,) = await deliveries(broker, hook)
    reply = await broker.client.post(f"{PATH}/{hook['id']}/deliveries/{delivery['id']}/replay")
    check_problem(reply, 409, "delivery-pending")
    unknown = await broker.client.post(f"{PATH}/{hook['id']}/deliveries/{uuid4()}/replay")
    check_problem(unknown, 404, "delivery-not-found")


async def test_all_failed_deliveries_of_an_outage_can_be_replayed(
    database_url: str, database: Database, receiver: Receiver
) -> None:
    receiver.then(answering(204), answering(204))
    receiver.usual = FAILING
    async with Broker(database_url, delivery=RetryPolicy(max_attempts=1)) as broker:
        project = await find_project(database, database_url)
        hook = await hook_at(broker, receiver)
        path = f"{PATH}/{hook['id']}/replay"
        for number in range(5):
            await project.record_events(str(number))
            await settled(broker, hook, number + 1)
        events = (await broker.call("GET", "/v1/events/history"))["items"][::-1]
        receiver.usual = answering(204)
        assert await _replayed(broker, path, since=events[3]["id"]) == 2
        await settled(broker, hook, 5)
        assert names_of(receiver.accepted, hook["secret"]) == ["0", "1", "3", "4"]
        assert await _replayed(broker, path) == 1
        await settled(broker, hook, 5)
        assert names_of(receiver.accepted, hook["secret"]) == list("01234")
        since = events[4]["timestamp"]
        assert await _replayed(broker, path, since=since, states=["delivered", "failed"]) == 1
        assert await _replayed(broker, path) == 0


async def _replayed(broker: Broker, path: str, **body: object) -> int:
    answer = await broker.call("POST", path, body, status=202)
    assert answer["more"] is False
    return int(answer["replayed"])


async def test_a_large_replay_continues_at_next_since(
    start_broker: StartBroker, database: Database, database_url: str, receiver: Receiver
) -> None:
    broker = await start_broker(worker=False)
    hook = await hook_at(broker, receiver)
    await (await find_project(database, database_url)).record_events(*(f"{number}" for number in range(410)))
    await execute(database_url, "UPDATE webhook_deliveries SET state = 'delivered'")
    path, replayed = f"{PATH}/{hook['id']}/replay", []
    since: str | None = "0"
    for more in (True, True, False):
        body = {"states": ["delivered"], "since": since}
        answer = await broker.call("POST", path, body, status=202)
        assert answer["more"] is more
        # As if all of them had been delivered before the next call.
        pending = "UPDATE webhook_deliveries SET state = 'delivered' WHERE state = 'pending'"
        await execute(database_url, pending)
        replayed.append(answer["replayed"])
        since = answer["next_since"]
    assert replayed == [200, 200, 10]
    assert since is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"since": "yesterday"}, "/since"),
        ({"since": "2026-07-01T12:00:00"}, "/since"),
        ({"since": "-1"}, "/since"),
        ({"since": "0001-01-01T00:00:00+23:00"}, "/since"),
        ({"states": ["pending"]}, "/states"),
        ({"states": ["lost"]}, "/states/0"),
    ],
)
async def test_a_replay_with_an_invalid_since_is_rejected(broker: Broker, body: Any, pointer: str) -> None:
    hook = await broker.call("POST", PATH, {"url": "https://receiver.example.com/"}, status=201)
    reply = await broker.client.post(f"{PATH}/{hook['id']}/replay", json=body)
    assert check_problem(reply, 422, "invalid-input")["errors"][0]["pointer"] == pointer


async def test_after_a_rotation_both_secrets_sign_for_a_day(
    broker: Broker, project: Project, receiver: Receiver
) -> None:
    hook = await hook_at(broker, receiver)
    rotated = await broker.client.post(f"{PATH}/{hook['id']}/rotate")
    assert (rotated.status_code, rotated.headers["Cache-Control"]) == (200, "no-store")
    secret = rotated.json()["secret"]
    assert secret != hook["secret"]
    await project.record_events("a")
    await settled(broker, hook, 1)
    (message,) = receiver.accepted
    assert message.verified(secret) == message.verified(hook["secret"])
    assert len(message.headers["webhook-signature"].split(" ")) == 2


async def test_a_rotation_repairs_a_webhook_after_a_change_of_the_secret_key(
    database_url: str, database: Database, receiver: Receiver
) -> None:
    token = new_token()
    async with Broker(database_url, token=token, worker=False) as broker:
        hook = await hook_at(broker, receiver)
    async with Broker(database_url, token=token, secret_key=ANOTHER_KEY) as broker:
        await (await find_project(database, database_url)).record_events("a")

        async def has_failed() -> bool:
            (delivery,) = await deliveries(broker, hook)
            return bool(delivery["problem"])

        await until(has_failed)
        rotated = await broker.call("POST", f"{PATH}/{hook['id']}/rotate")
        await settled(broker, hook, 1)
    assert names_of(receiver.received, rotated["secret"]) == ["a"]


async def test_a_test_event_goes_to_one_webhook_regardless_of_its_types(
    broker: Broker, receiver: Receiver
) -> None:
    hook, other = [await hook_at(broker, receiver, types=["list.pushed"]) for _ in range(2)]
    asked = await broker.call("POST", f"{PATH}/{hook['id']}/test", status=202)
    assert (asked["state"], asked["event_type"]) == ("pending", "webhook.test")
    await settled(broker, hook, 1)
    (message,) = receiver.accepted
    assert message.verified(hook["secret"])["data"]["webhook_id"] == hook["id"]
    assert await deliveries(broker, other) == []
    await broker.call("PATCH", f"{PATH}/{hook['id']}", {"enabled": False})
    check_problem(await broker.client.post(f"{PATH}/{hook['id']}/test"), 409, "webhook-disabled")


async def test_a_queued_delivery_is_signed_when_it_is_sent(
    start_broker: StartBroker, database: Database, database_url: str, receiver: Receiver
) -> None:
    broker = await start_broker(registry_concurrency=1, webhook_seconds=20.0)
    receiver.then(hang)
    hook = await hook_at(broker, receiver)
    await (await find_project(database, database_url)).record_events("a", "b")

    async def both_run() -> bool:
        running = "SELECT count(*) FROM operations WHERE state = 'running'"
        return await ask(database_url, running) == 2

    await until(lambda: len(receiver.received) == 1)
    await until(both_run)
    # The timestamp has whole seconds.
    queued = int(time.time())
    await until(lambda: time.time() >= queued + 1)
    receiver.released.set()
    await settled(broker, hook, 2)
    assert int(receiver.received[1].headers["webhook-timestamp"]) > queued


async def test_a_receiver_that_rejects_one_project_still_gets_events_of_others(
    broker: Broker, database: Database, database_url: str, receiver: Receiver
) -> None:
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    receiver.then(answering(429, Retry_After="300"))
    await hook_at(broker, receiver)
    await (await find_project(database, database_url)).record_events("noisy")
    await until(lambda: len(receiver.received) == 1)
    async with broker.client_with(await broker.new_token("other")) as client:
        hook = (await client.post(PATH, json={"url": receiver.url})).json()
        await (await find_project(database, database_url, "other")).record_events("quiet")
        await until(lambda: len(receiver.accepted) == 1)
    assert names_of(receiver.accepted, hook["secret"]) == ["quiet"]


async def test_a_hanging_receiver_does_not_delay_others(
    start_broker: StartBroker, database: Database, database_url: str, receiver: Receiver
) -> None:
    broker = await start_broker(worker_concurrency=4, webhook_seconds=60.0)
    project = await find_project(database, database_url)
    receiver.usual = hang
    slow = await hook_at(broker, receiver)
    async with Receiver() as other:
        quick = await hook_at(broker, other)
        for number in range(12):
            await project.record_events(str(number))
        await settled(broker, quick, 12)
        assert await deliveries(broker, slow, "&state=pending") == await deliveries(broker, slow)
        # Its share of four slots, one of which stays free.
        assert len(receiver.received) <= 3
        receiver.usual = answering(204)
        receiver.released.set()
        await settled(broker, slow, 12)


async def test_deliveries_beyond_the_limit_wait_and_arrive_in_order(
    database_url: str, database: Database, receiver: Receiver
) -> None:
    token = new_token()
    async with Broker(database_url, token=token, worker=False) as broker:
        hook, other = [await hook_at(broker, receiver) for _ in range(2)]
        await (await find_project(database, database_url)).record_events(
            *(f"{number:03}" for number in range(130))
        )
        waiting = await deliveries(broker, hook)
        assert [each["operation_id"] is None for each in waiting] == [True] * 30 + [False] * 100
        assert {each["state"] for each in waiting} == {"pending"}
        await broker.call("PATCH", f"{PATH}/{other['id']}", {"enabled": False})
    async with Broker(database_url, token=token) as broker:
        found = await settled(broker, hook, 130)
        assert {each["state"] for each in found} == {"delivered"}
        failed = await settled(broker, other, 130)
    assert names_of(receiver.accepted, hook["secret"]) == [f"{number:03}" for number in range(130)]
    assert {each["problem"]["type"].rpartition(":")[2] for each in failed} == {"webhook-disabled"}


async def test_a_hundred_rejected_events_do_not_delay_other_receivers(
    database_url: str, database: Database, receiver: Receiver
) -> None:
    # No delivery is retried during the test.
    patient = RetryPolicy(base=1e5, cap=1e5)
    receiver.then(*[answering(422)] * 100)
    async with Broker(database_url, delivery=patient) as broker:
        project = await find_project(database, database_url)
        hook = await hook_at(broker, receiver)
        await project.record_events(*(str(number) for number in range(105)))
        await until(lambda: len(receiver.received) == 105)
        await project.record_events("pushed", kind=EventKind.LIST_PUSHED)
        await settled(broker, hook, 6)
    assert "pushed" in names_of(receiver.accepted, hook["secret"])


async def test_delivery_operations_are_listed_only_on_request(
    broker: Broker, project: Project, receiver: Receiver
) -> None:
    hook = await hook_at(broker, receiver)
    await project.record_events("a")
    (delivery,) = await settled(broker, hook, 1)
    assert (await broker.call("GET", "/v1/operations"))["items"] == []
    assert (await broker.call("GET", "/v1/operations?state=succeeded"))["items"] == []
    (operation,) = (await broker.call("GET", "/v1/operations?kind=deliver"))["items"]
    assert operation["id"] == delivery["operation_id"]
    assert operation["result"] == {"delivery_id": delivery["id"], "status": 204}


async def test_deleting_a_webhook_during_a_change_does_not_block_the_change(
    broker: Broker, project: Project, receiver: Receiver
) -> None:
    hooks = [await hook_at(broker, receiver) for _ in range(8)]
    async with asyncio.TaskGroup() as group:
        for number, hook in enumerate(hooks):
            group.create_task(project.record_events(str(number)))
            group.create_task(broker.call("DELETE", f"{PATH}/{hook['id']}", status=204))
    assert len((await broker.call("GET", "/v1/events/history"))["items"]) == 8
