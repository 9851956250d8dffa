"""The events of a project, streamed and listed."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from app.lists.events import EventKind
from app.store.database import Database
from tests.support.broker import Broker, Client, StartBroker, check_problem
from tests.support.event_streams import EventReader
from tests.support.operation_queue import PATIENCE_SECONDS
from tests.support.projects import Project, find_project

PATH = "/v1/events"
CHANGED, PUSHED = EventKind.LIST_CHANGED, EventKind.LIST_PUSHED


@pytest.fixture
async def project(broker: Broker, database: Database, database_url: str) -> Project:
    return await find_project(database, database_url)


def names(events: list[Any]) -> list[str]:
    return [event["data"]["data"]["labels"]["name"] for event in events]


async def read(client: Client, path: str, number: int) -> list[Any]:
    return await EventReader(client, path).read(number)


async def test_an_event_has_a_type_a_time_and_a_project(broker: Broker, project: Project) -> None:
    await project.record_events("a", kind=PUSHED)
    (event,) = await read(broker.client, f"{PATH}?after=0", 1)
    assert event["event"] == event["data"]["type"] == "list.pushed"
    assert event["id"] == event["data"]["id"]
    assert event["data"]["project"] == "default"
    assert event["data"]["timestamp"].endswith("Z")
    assert event["data"]["data"]["labels"] == {"name": "a"}


async def test_a_stream_starts_with_the_next_event(broker: Broker, project: Project) -> None:
    await project.record_events("before")
    async with broker.client.stream("GET", PATH) as reply:
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        await project.record_events("after")
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in reply.aiter_lines():
                if line.startswith("data: "):
                    break
    assert '"after"' in line


async def test_a_client_that_reconnects_before_the_first_event_misses_none(
    broker: Broker, project: Project
) -> None:
    reader = EventReader(broker.client, PATH)
    await reader.read(0)
    await project.record_events("meanwhile")
    assert names(await reader.read(1)) == ["meanwhile"]


async def test_a_client_that_reconnects_to_either_of_two_brokers_sees_each_event_once(
    start_broker: StartBroker, database: Database, database_url: str
) -> None:
    brokers = [await start_broker(worker=False) for _ in range(2)]
    project = await find_project(database, database_url)
    total = 60

    async def write(writer: int) -> None:
        for number in range(total // 4):
            await project.record_events(f"{writer}.{number}")

    reader = EventReader(brokers[0].client, f"{PATH}?after=0")
    seen: list[Any] = []
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        for writer in range(4):
            group.create_task(write(writer))
        while len(seen) < total:
            reader.switch_to(brokers[len(seen) % 2].client)
            seen += await reader.read(min(7, total - len(seen)))
    assert sorted(names(seen)) == sorted(f"{writer}.{number}" for writer in range(4) for number in range(15))
    identities = [int(event["id"]) for event in seen]
    assert identities == sorted(identities)


async def test_last_event_id_takes_precedence_over_after(broker: Broker, project: Project) -> None:
    for name in "abc":
        await project.record_events(name)
    first, *_ = await read(broker.client, f"{PATH}?after=0", 3)
    reader = EventReader(broker.client, f"{PATH}?after=0")
    reader.last_id = first["id"]
    assert names(await reader.read(2)) == ["b", "c"]


async def test_a_stream_after_a_future_event_starts_with_the_next_event(
    broker: Broker, project: Project
) -> None:
    await project.record_events("before")
    reader = EventReader(broker.client, PATH)
    reader.last_id = "999999"
    await reader.read(0)
    assert reader.last_id == str((await broker.call("GET", f"{PATH}/history"))["items"][0]["id"])
    await project.record_events("next")
    assert names(await reader.read(1)) == ["next"]


async def test_a_stream_can_be_filtered_by_type_list_and_session(broker: Broker, project: Project) -> None:
    mine = uuid4()
    await project.record_events("a", kind=PUSHED, list_id=mine)
    await project.record_events("b", kind=CHANGED, session="run-1")
    await project.record_events("c", kind=EventKind.LIST_FAILED, list_id=uuid4())
    path = f"{PATH}?after=0"
    assert names(await read(broker.client, f"{path}&type=list.pushed&type=list.failed", 2)) == ["a", "c"]
    assert names(await read(broker.client, f"{path}&list_id={mine}", 1)) == ["a"]
    assert names(await read(broker.client, f"{path}&session=run-1", 1)) == ["b"]


@pytest.mark.parametrize(
    "query", ["type=list.exploded", "after=x", "after=-1", f"after={10**18}", "list_id=x"]
)
async def test_an_invalid_query_is_rejected(broker: Broker, query: str) -> None:
    for path in (PATH, f"{PATH}/history"):
        if "after" not in query or path == PATH:
            check_problem(await broker.client.get(f"{path}?{query}"), 422, "invalid-input")


async def test_a_malformed_last_event_id_is_rejected(broker: Broker) -> None:
    for value in ("x", "-1", "1" * 30, "1.0"):
        reply = await broker.client.get(PATH, headers={"Last-Event-ID": value})
        check_problem(reply, 422, "invalid-header")


async def test_history_is_paged_newest_first(broker: Broker, project: Project) -> None:
    for name in "abcde":
        await project.record_events(name)
    path, found = f"{PATH}/history?limit=2", []
    while True:
        reply = await broker.client.get(path)
        found += [each["data"]["labels"]["name"] for each in reply.json()["items"]]
        if reply.json()["next_cursor"] is None:
            break
        path = reply.links["next"]["url"]
    assert found == list("edcba")


@pytest.mark.parametrize(
    "cursor", ["", "W3RydWVd", "WzEsMl0", "Wy0xXQ", "WzkyMjMzNzIwMzY4NTQ3NzU4MDhd", "MQ"]
)
async def test_a_forged_cursor_is_rejected(broker: Broker, cursor: str) -> None:
    check_problem(await broker.client.get(f"{PATH}/history?cursor={cursor}"), 422, "invalid-cursor")


async def test_events_of_other_projects_are_not_visible(
    broker: Broker, project: Project, database: Database, database_url: str
) -> None:
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    other = await find_project(database, database_url, "other")
    await project.record_events("mine")
    async with broker.client_with(await broker.new_token("other")) as client:
        assert (await client.get(f"{PATH}/history")).json() == {"items": [], "next_cursor": None}
        await other.record_events("theirs")
        assert names(await read(client, f"{PATH}?after=0", 1)) == ["theirs"]
