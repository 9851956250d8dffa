"""Hanging receivers do not occupy every slot of a worker."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import pytest

from app.store.database import Database
from tests.support.broker import Broker
from tests.support.docker_registry import free_port
from tests.support.operation_queue import PATIENCE_SECONDS, until
from tests.support.postgres import ask
from tests.support.projects import find_project
from tests.support.webhook_receiver import Receiver, hang

pytestmark = pytest.mark.slow

PLACES = 6
RUNNING = "SELECT count(*) FROM operations WHERE state = 'running' AND kind = 'deliver'"


async def test_hanging_receivers_leave_slots_for_requests(database_url: str) -> None:
    database = Database(database_url)
    async with (
        asyncio.timeout(2 * PATIENCE_SECONDS),
        AsyncExitStack() as stack,
        Broker(database_url, worker_concurrency=PLACES, webhook_seconds=3600.0, stop_seconds=0.5) as broker,
    ):
        receivers = [
            # The worker sends exactly as many requests as it has slots for deliveries.
            await stack.enter_async_context(Receiver(usual=hang, optional=True))
            for _ in range(PLACES)
        ]
        for receiver in receivers:
            await broker.call("POST", "/v1/webhooks", {"url": receiver.url}, status=201)
        await (await find_project(database, database_url)).record_events("one", "two")
        await until(partial(_are_running, database_url, PLACES // 2))
        await until(lambda: sum(len(receiver.received) for receiver in receivers) == PLACES // 2)
        # Nothing listens on that port: the problem arrives although the receivers still hang.
        inspected = await broker.client.get(
            "/v1/inspect", params={"reference": f"127.0.0.1:{free_port()}/app:1", "insecure": "true"}
        )
        assert inspected.status_code == 502, inspected.text
        assert await _are_running(database_url, PLACES // 2)
        await broker.call("GET", "/v1/lists")
    await database.dispose()


async def _are_running(url: str, count: int) -> bool:
    return await ask(url, RUNNING) == count
