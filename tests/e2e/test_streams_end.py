"""Streams and waiting calls end when the server stops."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx2

from tests.support.broker import KEY, Broker
from tests.support.broker_process import running_broker
from tests.support.operation_queue import PATIENCE_SECONDS, until
from tests.support.plain_http import plain_client

TOKEN = "a-token-for-the-stream"
# Longer than the test has: a server that waited for its streams would be noticed.
SETTINGS = {"BROKER_ADMIN_TOKEN": TOKEN, "BROKER_STOP_SECONDS": "3600"}


async def test_a_stopping_server_ends_its_streams(tmp_path: Path) -> None:
    stack = AsyncExitStack()
    running = await stack.enter_async_context(running_broker(tmp_path / "data", SETTINGS))
    async with (
        asyncio.timeout(2 * PATIENCE_SECONDS),
        plain_client(base_url=running.base_url, headers={"Authorization": f"Bearer {TOKEN}"}) as client,
        client.stream("GET", "/v1/events", timeout=None) as reply,
    ):
        lines = reply.aiter_lines()
        assert await anext(lines) == "id: 0"
        stopping = asyncio.create_task(stack.aclose())
        # Its reader comes back to another server, with the last id that it was told; to the wire it is whole.
        async for line in lines:
            assert "data" not in line
        await stopping


async def test_a_stopping_server_answers_every_waiting_call(database_url: str) -> None:
    """Nobody is told of a failure, for nothing has failed: what was accepted is done by another process."""
    async with Broker(database_url, token=TOKEN) as broker:
        empty = await broker.create("registry.invalid/app:1")
    stack = AsyncExitStack()
    settings = {**SETTINGS, "DATABASE_URL": database_url, "BROKER_SECRET_KEY": KEY}
    running = await stack.enter_async_context(running_broker(Path("unused"), settings, "--no-worker"))
    held = {"Prefer": "wait=3000"}
    async with (
        asyncio.timeout(2 * PATIENCE_SECONDS),
        plain_client(
            base_url=running.base_url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=None
        ) as client,
    ):
        body = {"reference": "registry.invalid/app:2", "sources": ["registry.invalid/amd64:1"]}
        posted = asyncio.create_task(client.post("/v1/lists", json=body, headers=held))
        path = f"/v1/lists/{empty['id']}?wait_for=pushed"
        waiting = asyncio.create_task(client.get(path, headers=held))
        await until(partial(_are_held, client))
        stopping = asyncio.create_task(stack.aclose())
        accepted, not_yet = await posted, await waiting
        assert (accepted.status_code, not_yet.status_code) == (202, 202)
        assert accepted.headers["Location"] == f"/v1/operations/{accepted.json()['id']}"
        assert not_yet.json()["id"] == empty["id"]
        await stopping


async def _are_held(client: httpx2.AsyncClient) -> bool:
    operations = (await client.get("/v1/operations", params={"state": "queued"})).json()["items"]
    return len(operations) == 1
