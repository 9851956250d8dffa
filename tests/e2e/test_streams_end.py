"""Streams that have no end of their own end with the server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx2

from tests.support.queueing import PATIENCE_SECONDS
from tests.support.served import served

TOKEN = "a-token-for-the-stream"
# Longer than the test has: a server that waited for its streams would be noticed.
SETTINGS = {"BROKER_ADMIN_TOKEN": TOKEN, "BROKER_STOP_SECONDS": "3600"}


async def test_a_server_that_is_told_to_stop_ends_its_streams_and_stops(tmp_path: Path) -> None:
    stack = AsyncExitStack()
    running = await stack.enter_async_context(served(tmp_path / "data", SETTINGS))
    async with (
        asyncio.timeout(2 * PATIENCE_SECONDS),
        httpx2.AsyncClient(base_url=running.base_url, headers={"Authorization": f"Bearer {TOKEN}"}) as client,
        client.stream("GET", "/v1/events", timeout=None) as reply,
    ):
        lines = reply.aiter_lines()
        assert await anext(lines) == "id: 0"
        stopping = asyncio.create_task(stack.aclose())
        # Its reader comes back to another server, with the last id that it was told.
        with suppress(httpx2.RemoteProtocolError):
            async for line in lines:
                assert "data" not in line
        await stopping
