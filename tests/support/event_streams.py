"""Reads Server-Sent Events like a client that reconnects after a disconnect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from tests.support.operation_queue import PATIENCE_SECONDS

Json = dict[str, Any]


async def read_events(lines: AsyncIterator[str]) -> AsyncIterator[Json]:
    """Each block with what it has of `id`, `event` and `data`; comments are left out."""
    event: Json = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if not line and event:
            yield event
            event = {}
        elif name in {"id", "event"}:
            event[name] = value
        elif name == "data":
            event["data"] = json.loads(value)


class EventReader:
    """Remembers the last id that it was told, as the standard wants it, and resumes after it."""

    def __init__(self, client: httpx2.AsyncClient, path: str) -> None:
        self._client = client
        self._path = path
        self.last_id: str | None = None

    def switch_to(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def read(self, number: int) -> list[Json]:
        """So many events, and then the connection is cut."""
        found: list[Json] = []
        headers = {"Last-Event-ID": self.last_id} if self.last_id is not None else {}
        # Keep-alive comments prevent read timeouts.
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            self._client.stream("GET", self._path, headers=headers) as reply,
        ):
            assert reply.status_code == 200, await reply.aread()
            async for event in read_events(reply.aiter_lines()):
                self.last_id = event["id"]
                if "data" in event:
                    found.append(event)
                if len(found) >= number:
                    break
        return found
