"""The answers that callers get while the database is down."""

from __future__ import annotations

import asyncio

from tests.support.broker import Broker
from tests.support.operation_queue import PATIENCE_SECONDS
from tests.support.postgres import ask
from tests.support.restartable_postgres import restartable_postgres

BODY = {"reference": "registry.invalid/app:1", "sources": ["registry.invalid/app-amd64:1"]}


async def test_an_accepted_request_answers_202_while_the_database_is_down() -> None:
    """Who were told of a failure would ask for the same once more."""
    async with (
        asyncio.timeout(2 * PATIENCE_SECONDS),
        restartable_postgres() as server,
        Broker(server.url, worker=False) as broker,
    ):
        asking = asyncio.create_task(broker.client.post("/v1/lists", json=BODY, headers={"Prefer": "wait=3"}))
        while not await ask(server.url, "SELECT count(*) FROM operations"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await server.crash()
        reply = await asking
        assert reply.status_code == 202, reply.text
        assert reply.headers["Location"] == f"/v1/operations/{reply.json()['id']}"
        await server.start()
        known = await broker.call("GET", reply.headers["Location"])
        assert known["state"] == "queued"
