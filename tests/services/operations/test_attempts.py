"""The handler that follows an operation's end: its failure never blocks the end or loses its work."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import text

from app.errors import Unavailable
from app.operations.operation import Operation
from app.operations.states import Kind, State
from app.services.operations.attempts import Attempt, Handler, conclude
from app.store import operation_changes
from app.store import operations as store
from app.store.database import Database, Transaction
from tests.support.operation_queue import enqueued

PUSH = Kind.PUSH_LIST


async def perform(_: Attempt) -> None:
    raise AssertionError("nothing is carried out here")


async def test_a_failing_handler_does_not_keep_the_end_from_being_recorded(
    database: Database, project_id: UUID
) -> None:
    async def ended(tx: Transaction, _: Operation, __: State) -> None:
        await tx.execute(text("CREATE TABLE half_done ()"))
        raise ZeroDivisionError

    operation = await enqueued(database, project_id)
    async with database.transaction() as tx:
        cancelled = await operation_changes.request_cancel(tx, project_id, operation.id)
        await conclude(tx, {PUSH: Handler(perform, ended)}, cancelled)
    async with database.transaction() as tx:
        assert (await store.get(tx, project_id, operation.id)).state is State.CANCELLED
        assert await tx.scalar(text("SELECT to_regclass('half_done')")) is None


async def test_an_end_is_recorded_again_if_its_handler_meets_a_busy_database(
    database: Database, project_id: UUID
) -> None:
    async def ended(tx: Transaction, _: Operation, __: State) -> None:
        await tx.execute(text("SET LOCAL lock_timeout = '20ms'"))
        await tx.execute(text("SELECT * FROM projects FOR UPDATE"))

    operation = await enqueued(database, project_id)

    async def cancel() -> None:
        async with database.transaction() as tx:
            cancelled = await operation_changes.request_cancel(tx, project_id, operation.id)
            await conclude(tx, {PUSH: Handler(perform, ended)}, cancelled)

    async with database.transaction() as other:
        await other.execute(text("SELECT * FROM projects FOR UPDATE"))
        with pytest.raises(Unavailable):
            await cancel()
    async with database.transaction() as tx:
        assert (await store.get(tx, project_id, operation.id)).state is State.QUEUED
    await cancel()
    async with database.transaction() as tx:
        assert (await store.get(tx, project_id, operation.id)).state is State.CANCELLED
