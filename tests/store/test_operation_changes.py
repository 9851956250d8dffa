"""How many unfinished operations a project may have."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.errors import BrokerError, TooManyOperations, TooManyPushes
from app.operations.capacity import FreeSlots
from app.operations.operation import Operation, OperationLimits
from app.operations.states import Kind, State
from app.store import operation_changes, queue
from app.store.database import Database
from tests.support.operation_queue import HOUR, enqueued, new_project, wanted

TAG = "push:registry.example/app:1"
OTHER = "push:registry.example/app:2"


async def enqueue(database: Database, project_id: UUID, limits: OperationLimits, **changes: Any) -> Operation:
    async with database.transaction() as tx:
        return await operation_changes.enqueue(tx, wanted(project_id, **changes), limits)


async def test_a_project_at_its_limit_is_refused_with_the_limit_and_a_time(
    database: Database, project_id: UUID
) -> None:
    limits = OperationLimits(project=3, key=100)
    for _ in range(3):
        await enqueue(database, project_id, limits)
    with pytest.raises(TooManyOperations) as refused:
        await enqueue(database, project_id, limits)
    assert refused.value.members["limit"] == 3
    assert refused.value.retry_after
    await enqueue(database, await new_project(database), limits)


async def test_pushes_to_one_tag_have_a_limit_of_their_own(database: Database, project_id: UUID) -> None:
    limits = OperationLimits(project=100, key=2)
    for _ in range(2):
        await enqueue(database, project_id, limits, keys=(TAG, OTHER))
    with pytest.raises(TooManyPushes) as refused:
        await enqueue(database, project_id, limits, keys=("push:registry.example/app:3", TAG))
    assert refused.value.members["reference"] == "registry.example/app:1"
    assert refused.value.members["limit"] == 2
    await enqueue(database, project_id, limits, keys=("push:registry.example/app:3",))
    await enqueue(database, await new_project(database), limits, keys=(TAG,))


async def test_operations_count_until_they_end_wherever_they_wait(
    database: Database, project_id: UUID
) -> None:
    limits = OperationLimits(project=3, key=3)
    parked, running, queued = [await enqueue(database, project_id, limits, keys=(TAG,))] + [
        await enqueue(database, project_id, limits) for _ in range(2)
    ]
    async with database.transaction() as tx:
        await queue.claim(tx, worker="one", free=FreeSlots(2), lease=HOUR)
        await queue.park(tx, parked.id, 1, timedelta(minutes=5), problem={})
    with pytest.raises(TooManyOperations):
        await enqueue(database, project_id, limits)
    async with database.transaction() as tx:
        await queue.succeed(tx, running.id, 1, {})
    await enqueue(database, project_id, limits)
    async with database.transaction() as tx:
        await operation_changes.request_cancel(tx, project_id, queued.id)
    await enqueue(database, project_id, limits)


async def test_deliveries_do_not_count(database: Database, project_id: UUID) -> None:
    for _ in range(3):
        await enqueued(database, project_id, kind=Kind.DELIVER)
    operation = await enqueue(database, project_id, OperationLimits(project=1, key=1))
    assert operation.state is State.QUEUED


async def test_what_follows_from_a_change_is_never_refused_and_counts(
    database: Database, project_id: UUID
) -> None:
    for _ in range(3):
        await enqueued(database, project_id, keys=(TAG,))
    with pytest.raises(TooManyPushes):
        await enqueue(database, project_id, OperationLimits(project=100, key=3), keys=(TAG,))


@pytest.mark.parametrize("limits", [OperationLimits(7, 100), OperationLimits(100, 7)])
async def test_concurrent_requests_never_exceed_a_limit(
    database: Database, project_id: UUID, limits: OperationLimits
) -> None:
    async def attempt() -> BrokerError | None:
        try:
            await enqueue(database, project_id, limits, keys=(TAG,))
        except (TooManyOperations, TooManyPushes) as refusal:
            return refusal
        return None

    outcomes = await asyncio.gather(*(attempt() for _ in range(20)))
    assert sum(outcome is None for outcome in outcomes) == 7
