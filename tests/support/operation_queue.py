"""Helpers for queue tests: a project, operations in it, and runners that stop with the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select, update

from app.operations.operation import NewOperation, Operation
from app.operations.retries import RetryPolicy
from app.operations.states import Kind
from app.runner.runner import Runner
from app.services.operations.attempts import Attempt, Handler
from app.services.operations.wait import Operations
from app.store import operation_changes
from app.store import operations as store
from app.store.database import Database
from app.store.notifications import Notifications
from app.store.tables import operation_events, operations, projects

HOUR = timedelta(hours=1)
# Short enough for a test to see a lease run out, long enough for a machine that is busy with others.
LEASE = timedelta(seconds=2)
BEAT = timedelta(seconds=0.4)
POLL = timedelta(seconds=0.3)
PATIENCE_SECONDS = 120.0


async def new_project(database: Database) -> UUID:
    project_id = uuid4()
    async with database.transaction() as tx:
        await tx.execute(insert(projects).values(id=project_id, name=str(project_id)))
    return project_id


def wanted(project_id: UUID, **changes: Any) -> NewOperation:
    values: dict[str, Any] = {
        "project_id": project_id,
        "kind": Kind.PUSH_LIST,
        "request": {},
        "created_by": "tests",
        "deadline_in": HOUR,
    }
    return NewOperation(**(values | changes))


async def enqueued(database: Database, project_id: UUID, **changes: Any) -> Operation:
    async with database.transaction() as tx:
        return await operation_changes.enqueue(tx, wanted(project_id, **changes))


async def read(database: Database, operation: Operation) -> Operation:
    async with database.transaction() as tx:
        return await store.get(tx, operation.project_id, operation.id)


async def event_kinds(database: Database, operation: Operation) -> list[str]:
    statement = (
        select(operation_events.c.kind)
        .where(operation_events.c.operation_id == operation.id)
        .order_by(operation_events.c.id)
    )
    async with database.transaction() as tx:
        return list((await tx.execute(statement)).scalars())


async def lapse(database: Database, operation: Operation, *, attempt: int | None = None) -> None:
    """The lease runs out, as it does under a worker that has stalled; with a number, that attempt's only."""
    statement = update(operations).where(operations.c.id == operation.id)
    if attempt is not None:
        statement = statement.where(operations.c.attempt == attempt)
    async with database.transaction() as tx:
        await tx.execute(statement.values(lease_until=func.clock_timestamp() - timedelta(seconds=1)))


async def until(true: Callable[[], bool | Awaitable[bool]]) -> None:
    """Waits for what another task or process is about to do.

    The longer it takes, the more rarely this asks: a question costs the time of what is waited for.
    """
    began = monotonic()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            outcome = true()
            if outcome if isinstance(outcome, bool) else await outcome:
                return
            await asyncio.sleep(max(0.01, (monotonic() - began) / 10))


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Notifications]:
    notifications = Notifications(url)
    task = asyncio.create_task(notifications.run())
    try:
        yield notifications
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def running(
    database: Database,
    notifications: Notifications,
    handlers: Mapping[Kind, Handler],
    **settings: Any,
) -> AsyncIterator[Runner]:
    defaults: dict[str, Any] = {
        "lease": LEASE,
        "beat": BEAT,
        "poll": POLL,
        "grace": timedelta(seconds=PATIENCE_SECONDS),
        "policy": RetryPolicy(base=0.01, cap=0.02),
    }
    runner = Runner(database, notifications, handlers, **(defaults | settings))
    task = asyncio.create_task(runner.run())
    try:
        yield runner
        runner.stop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def ended(database: Database, notifications: Notifications, operation: Operation) -> Operation:
    service = Operations(database, notifications)
    outcome = await service.wait(operation, PATIENCE_SECONDS)
    assert outcome.state.ended
    return outcome


def succeeding(database: Database) -> Handler:
    async def perform(attempt: Attempt) -> None:
        async with database.transaction() as tx:
            await attempt.succeed(tx, {"attempt": attempt.operation.attempt})

    return Handler(perform)
