"""Waiting for operations, following them, and cancelling them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from app.errors import OperationEnded, OperationNotFound
from app.operations.operation import Operation, OperationEvent, OperationFilter
from app.operations.progress import Progress
from app.operations.states import Kind, State
from app.services.operations.attempts import Attempt, Handler
from app.services.operations.wait import POLL_SECONDS, Operations
from app.store import operation_changes
from app.store.database import Database, Transaction
from app.store.notifications import Notifications
from tests.support.operation_queue import PATIENCE_SECONDS, enqueued, new_project, running, succeeding, until

PUSH = Kind.PUSH_LIST


@pytest.fixture
def service(database: Database, notifications: Notifications) -> Operations:
    return Operations(database, notifications)


async def test_a_waiting_caller_gets_the_outcome_at_once(
    database: Database, notifications: Notifications, service: Operations, project_id: UUID
) -> None:
    operation = await enqueued(database, project_id)
    waiter = asyncio.create_task(service.wait(operation, PATIENCE_SECONDS))
    async with running(database, notifications, {PUSH: succeeding(database)}):
        outcome = await waiter
    assert (outcome.state, outcome.result) == (State.SUCCEEDED, {"attempt": 1})


async def test_a_caller_gets_the_current_operation_after_the_wait(
    database: Database, service: Operations, project_id: UUID
) -> None:
    operation = await enqueued(database, project_id)
    assert (await service.wait(operation, 0.02)).state is State.QUEUED
    assert (await service.wait(operation, 0)).state is State.QUEUED


async def test_waiting_for_an_ended_operation_returns_at_once(
    database: Database, notifications: Notifications, service: Operations, project_id: UUID
) -> None:
    operation = await enqueued(database, project_id)
    async with running(database, notifications, {PUSH: succeeding(database)}):
        first = await service.wait(operation, PATIENCE_SECONDS)
    # Sooner than the poll that makes up for lost notifications.
    async with asyncio.timeout(POLL_SECONDS / 2):
        assert await service.wait(operation, PATIENCE_SECONDS) == first


async def test_many_waiting_callers_share_a_small_pool(
    database_url: str, database: Database, notifications: Notifications, project_id: UUID
) -> None:
    small = Database(database_url, pool_size=1, pool_wait=PATIENCE_SECONDS)
    service = Operations(small, notifications)
    operation = await enqueued(database, project_id)
    async with asyncio.TaskGroup() as group:
        waiters = [group.create_task(service.wait(operation, PATIENCE_SECONDS)) for _ in range(30)]
        # The only connection is free although thirty callers wait.
        await service.get(project_id, operation.id)
        await service.cancel(project_id, operation.id)
    assert {waiter.result().state for waiter in waiters} == {State.CANCELLED}
    await small.dispose()


async def test_a_caller_sees_the_outcome_at_the_next_poll_without_a_notification(
    database: Database, database_url: str, project_id: UUID
) -> None:
    deaf = Operations(database, Notifications(database_url), poll=0.05)
    operation = await enqueued(database, project_id)
    waiter = asyncio.create_task(deaf.wait(operation, PATIENCE_SECONDS))
    await asyncio.sleep(0)
    await deaf.cancel(project_id, operation.id)
    assert (await waiter).state is State.CANCELLED


async def test_a_stream_has_every_event_once_in_order_and_ends_with_the_operation(
    database: Database, notifications: Notifications, service: Operations, project_id: UUID
) -> None:
    proceed = asyncio.Event()

    async def perform(attempt: Attempt) -> None:
        attempt.progress(Progress(bytes_done=1))
        await proceed.wait()
        async with database.transaction() as tx:
            await attempt.succeed(tx, {})

    operation = await enqueued(database, project_id)
    events: list[OperationEvent] = []
    async with running(database, notifications, {PUSH: Handler(perform)}), asyncio.timeout(PATIENCE_SECONDS):
        async for event in service.stream(project_id, operation.id):
            events.append(event)
            if event.kind == "progress":
                proceed.set()
    assert [event.kind for event in events] == ["queued", "running", "progress", "succeeded"]
    assert [event.id for event in events] == sorted({event.id for event in events})


async def test_a_stream_resumes_after_the_last_event_seen(
    database: Database, service: Operations, project_id: UUID
) -> None:
    operation = await enqueued(database, project_id)
    await service.cancel(project_id, operation.id)
    events = [event async for event in service.stream(project_id, operation.id)]
    rest = [event async for event in service.stream(project_id, operation.id, events[0].id)]
    assert rest == events[1:]
    assert [event async for event in service.stream(project_id, operation.id, events[-1].id)] == []


async def test_a_stream_of_many_events_has_every_event(
    database: Database, service: Operations, project_id: UUID
) -> None:
    operation = await enqueued(database, project_id)
    async with database.transaction() as tx:
        for _ in range(250):
            await operation_changes.record_event(tx, operation, "progress")
    await service.cancel(project_id, operation.id)
    events = [event async for event in service.stream(project_id, operation.id)]
    assert len(events) == 252


async def test_a_stream_outlasts_an_outage_of_the_database(
    database_url: str, database: Database, notifications: Notifications, service: Operations, project_id: UUID
) -> None:
    small = Database(database_url, pool_size=1, pool_wait=0.01)
    operation = await enqueued(database, project_id)
    async with asyncio.timeout(PATIENCE_SECONDS):
        stream = Operations(small, notifications, poll=0.01).stream(project_id, operation.id)
        assert (await anext(stream)).kind == "queued"
        async with small.transaction():
            following = asyncio.create_task(follow(stream))
            await asyncio.sleep(0.1)
            assert not following.done()
        await service.cancel(project_id, operation.id)
        await following
    await small.dispose()


async def test_a_closed_stream_leaves_no_subscription(
    database: Database, notifications: Notifications, service: Operations, project_id: UUID
) -> None:
    operation = await enqueued(database, project_id)
    stream = service.stream(project_id, operation.id)
    follower = asyncio.create_task(follow(stream))
    waiter = asyncio.create_task(service.wait(operation, PATIENCE_SECONDS))
    await until(lambda: notifications.subscribers == 2)
    for task in (follower, waiter):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert notifications.subscribers == 0


async def follow(stream: AsyncIterator[OperationEvent]) -> None:
    async for _ in stream:
        pass


async def test_operations_of_another_project_are_not_found(
    database: Database, service: Operations, project_id: UUID
) -> None:
    operation = await enqueued(database, project_id)
    stranger = await new_project(database)
    for project, id_ in ((stranger, operation.id), (project_id, uuid4())):
        with pytest.raises(OperationNotFound):
            await service.get(project, id_)
        with pytest.raises(OperationNotFound):
            await service.cancel(project, id_)
        with pytest.raises(OperationNotFound):
            _ = [event async for event in service.stream(project, id_)]
    assert await service.page(stranger, OperationFilter(), limit=10) == []
    assert await service.page(project_id, OperationFilter(), limit=10) == [operation]


async def test_a_cancellation_and_its_handler_share_one_transaction(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    seen: list[tuple[UUID, State, State]] = []

    async def unused(attempt: Attempt) -> None:
        raise AssertionError

    async def note(tx: Transaction, operation: Operation, state: State) -> None:
        outside = await Operations(database, notifications).get(project_id, operation.id)
        seen.append((operation.id, state, outside.state))

    service = Operations(database, notifications, {PUSH: Handler(unused, note)})
    operation = await enqueued(database, project_id)
    await service.cancel(project_id, operation.id)
    assert seen == [(operation.id, State.CANCELLED, State.QUEUED)]
    with pytest.raises(OperationEnded):
        await service.cancel(project_id, operation.id)
