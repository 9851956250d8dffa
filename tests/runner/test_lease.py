"""What a process knows of an operation that it holds: why its work is to stop, and that it does."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from app.operations.capacity import FreeSlots
from app.runner.lease import Lease, Stop
from app.store import queue
from app.store.database import Database
from tests.support.operation_queue import HOUR, enqueued


@pytest.fixture
async def lease(database: Database, project_id: UUID) -> Lease:
    await enqueued(database, project_id)
    async with database.transaction() as tx:
        (claimed,) = await queue.claim(tx, worker="one", free=FreeSlots(1), lease=timedelta(minutes=1))
    return Lease(claimed, asyncio.get_running_loop().time() + HOUR.total_seconds())


async def test_the_first_reason_to_stop_counts(lease: Lease) -> None:
    """What was cancelled is not given back because the process ends as well."""
    lease.stop(Stop.CANCELLED)
    lease.stop(Stop.SHUTDOWN)
    assert lease.stopped is Stop.CANCELLED


async def test_work_that_was_stopped_before_its_start_does_not_start(lease: Lease) -> None:
    lease.stop(Stop.CANCELLED)
    work: asyncio.Task[object] = asyncio.create_task(asyncio.Event().wait())
    lease.guard(work)
    await asyncio.wait([work], timeout=1)
    lease.release()
    assert work.cancelled()


async def test_finished_work_is_not_stopped(lease: Lease) -> None:
    gate = asyncio.Event()
    work: asyncio.Task[object] = asyncio.create_task(gate.wait())
    lease.guard(work)
    lease.release()
    lease.stop(Stop.LOST)
    gate.set()
    assert await work
