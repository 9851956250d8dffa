"""Workers are killed during deliveries to a failing receiver: each event still arrives unchanged.

KILLED_DELIVERIES makes it longer.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from app.store.database import Database
from tests.support.broker import Broker
from tests.support.broker_replicas import push_workers, variables_for
from tests.support.projects import find_project
from tests.support.webhook_receiver import Receiver, answering, hang_up, late

EVENTS = int(os.environ.get("KILLED_DELIVERIES", "60"))
PATIENCE_SECONDS = 120 + EVENTS
WRITERS = 3
SECONDS_BETWEEN_LOOKS = 0.05
# So many requests arrive between two kills.
REQUESTS_BETWEEN = (5, 30)
REPLIES = (answering(204), answering(204), answering(500), answering(503), hang_up, late(0.2))


async def test_every_event_is_delivered_although_workers_are_killed(
    database_url: str, database: Database, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    dice = random.Random(seed)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        Receiver() as receiver,
        Broker(database_url, worker=False) as broker,
        push_workers(variables_for(database_url, ()), dice, count=2) as workers,
    ):
        # More than the deliveries need, on average.
        receiver.then(*dice.choices(REPLIES, k=3 * EVENTS), optional=True)
        project = await find_project(database, database_url)
        hook = await broker.call("POST", "/v1/webhooks", {"url": receiver.url}, status=201)

        async def write(writer: int) -> None:
            for number in range(EVENTS // WRITERS):
                await project.record_events(f"{writer}.{number}")
                await asyncio.sleep(dice.random() * 0.1)

        writing = [asyncio.create_task(write(writer)) for writer in range(WRITERS)]
        path, pending = f"/v1/webhooks/{hook['id']}/deliveries", 1
        next_kill = dice.randint(*REQUESTS_BETWEEN)
        while pending or not all(task.done() for task in writing):
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            if next_kill <= len(receiver.received) < 2 * EVENTS:
                await workers.kill_one()
                next_kill = len(receiver.received) + dice.randint(*REQUESTS_BETWEEN)
            pending = len((await broker.call("GET", f"{path}?state=pending&limit=1"))["items"])
        await asyncio.gather(*writing)
        failed = (await broker.call("GET", f"{path}?state=failed"))["items"]
    with capsys.disabled():
        counts = f"{len(receiver.received)} requests, {len(receiver.accepted)} accepted"
        print(f"\nseed {seed}, {EVENTS} events, {workers.deaths} workers killed: {counts}")  # noqa: T201
    assert failed == []
    assert workers.deaths
    names = {message.verified(hook["secret"])["data"]["labels"]["name"] for message in receiver.accepted}
    assert names == {f"{writer}.{number}" for writer in range(WRITERS) for number in range(EVENTS // WRITERS)}
    assert len({message.id for message in receiver.received}) == EVENTS
    assert len({(message.id, message.body) for message in receiver.received}) == EVENTS
