"""Streams have a limited number of places, and end when their readers stop reading."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress

import pytest
from sse_starlette import ServerSentEvent
from starlette.types import Message

from app.api.streams import Stream
from app.errors import Unauthenticated
from tests.support.broker import Broker, Client, StartBroker, check_problem
from tests.support.operation_queue import PATIENCE_SECONDS, until


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
        await Stream(events(), nullcontext, send_timeout=0.01)(scope, receive, send)
    assert ended == [True]


async def test_a_stream_ends_properly_when_its_token_is_revoked_and_is_left_if_nobody_reads() -> None:
    revoked = asyncio.Event()

    @asynccontextmanager
    async def unless_revoked() -> AsyncIterator[None]:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_raise_after(revoked))
                yield
        except* Unauthenticated:
            raise Unauthenticated("The token was revoked.") from None

    async def events() -> AsyncIterator[ServerSentEvent]:
        revoked.set()
        await asyncio.Event().wait()
        yield ServerSentEvent(data="never")

    async def receive() -> Message:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/v1/events"}
    async with asyncio.timeout(PATIENCE_SECONDS):
        await Stream(events(), unless_revoked)(scope, receive, send)
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def _raise_after(event: asyncio.Event) -> None:
    await event.wait()
    raise Unauthenticated("The token was revoked.")


# --- places ---

PLACES = 3


async def paths_of_streams(broker: Broker) -> list[str]:
    """One of each kind; the operation stays queued, because no worker runs."""
    body = {"reference": "registry.invalid/list:1", "sources": ["registry.invalid/a:1"]}
    accepted = await broker.call("POST", "/v1/lists", body, status=202, Prefer="respond-async")
    return ["/v1/events", f"/v1/operations/{accepted['id']}/events"]


async def open_streams(stack: AsyncExitStack, client: Client, path: str, number: int) -> Counter[int]:
    """The statuses of this many concurrent calls; those that stream go on until the stack ends."""
    replies = await asyncio.gather(
        *(stack.enter_async_context(client.stream("GET", path)) for _ in range(number))
    )
    return Counter(reply.status_code for reply in replies)


async def test_concurrent_calls_never_get_more_streams_than_there_are_places(
    start_broker: StartBroker,
) -> None:
    broker = await start_broker(worker=False, project_streams=PLACES)
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    other = await broker.new_token("other")
    second = await broker.new_token()
    paths = await paths_of_streams(broker)
    async with (
        AsyncExitStack() as stack,
        broker.client_with(other) as stranger,
        broker.client_with(second) as colleague,
    ):
        for path in paths:
            async with AsyncExitStack() as streams:
                assert await open_streams(streams, broker.client, path, 5 * PLACES) == {
                    200: PLACES,
                    429: 4 * PLACES,
                }
                refused = await colleague.get(path)
                assert check_problem(refused, 429, "too-many-streams")["retry_after"] > 0
                assert await open_streams(stack, stranger, "/v1/events", 1) == {200: 1}
        # A place is free again once its stream has ended, which the broker notices a moment later.
        for path in paths:

            async def opens(path: str = path) -> bool:
                return bool((await open_streams(stack, broker.client, path, 1))[200])

            await until(opens)


async def test_calls_that_fail_take_no_place(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, project_streams=1)
    for _ in range(3):
        missing = "/v1/operations/00000000-0000-0000-0000-000000000000/events"
        check_problem(await broker.client.get(missing), 404, "operation-not-found")
        check_problem(await broker.client.get("/v1/events", params={"after": "x"}), 422)
    async with AsyncExitStack() as stack:
        for path in await paths_of_streams(broker):
            assert await open_streams(stack, broker.client, path, 1) == {200: 1}


# --- revoked tokens ---


@pytest.mark.parametrize("kind", ["project", "operation"])
async def test_a_stream_ends_in_every_process_once_its_token_is_revoked(
    start_broker: StartBroker, kind: str
) -> None:
    broker, other_process = await start_broker(worker=False), await start_broker(worker=False)
    project, operation = await paths_of_streams(broker)
    made = await broker.call("POST", "/v1/tokens", {"name": "ci"}, status=201)
    path = project if kind == "project" else operation
    async with asyncio.timeout(PATIENCE_SECONDS), AsyncExitStack() as stack:
        lines = []
        for process in (broker, other_process):
            client = await stack.enter_async_context(process.client_with(made["token"]))
            reply = await stack.enter_async_context(client.stream("GET", path))
            lines.append(reply.aiter_lines())
            assert await anext(lines[-1])
        admins = await stack.enter_async_context(broker.client.stream("GET", path))
        await broker.call("DELETE", f"/v1/tokens/{made['id']}", status=204)
        for each in lines:
            # Both end as every chunked answer does; a connection that is cut would raise.
            async for _line in each:
                pass
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                async for _line in admins.aiter_lines():
                    pass
                pytest.fail("A stream of another token has ended.")
