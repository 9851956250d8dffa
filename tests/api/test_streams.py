"""Streams end when their readers stop reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import ServerSentEvent
from starlette.types import Message

from app.api.streams import Stream
from tests.support.operation_queue import PATIENCE_SECONDS


async def test_a_reader_that_stops_reading_is_disconnected() -> None:
    ended: list[bool] = []

    async def events() -> AsyncIterator[ServerSentEvent]:
        try:
            while True:
                yield ServerSentEvent(data="a")
        finally:
            ended.append(True)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            # Like the server while its buffer is full.
            await asyncio.Event().wait()

    async def receive() -> Message:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": "/v1/events"}
    async with asyncio.timeout(PATIENCE_SECONDS):
        await Stream(events(), send_timeout=0.01)(scope, receive, send)
    assert ended == [True]
