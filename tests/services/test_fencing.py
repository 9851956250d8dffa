"""An attempt that has lost its lease changes nothing in the registry or the database."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from app.lists.pushes import Push, PushState
from app.oci.reference import parse_reference
from app.operations.capacity import FreeSlots
from app.operations.operation import Operation
from app.operations.states import Kind
from app.services.operations.attempts import Attempt, conclude
from app.store import queue
from app.store.heads import load_heads
from app.store.operation_changes import LostLease
from app.store.pushes import get_push
from app.store.row_security.scopes import SYSTEM
from app.store.tables import operations
from app.wiring import build_parts
from app.wiring.parts import BrokerParts
from tests.support.broker import Broker
from tests.support.planted_images import plant_images, wait_until_held
from tests.support.registry import Hold, RegistryDouble

pytestmark = pytest.mark.slow


async def claim_push(database_url: str, registry: RegistryDouble) -> tuple[BrokerParts, Attempt, str]:
    """The parts of a worker that holds a push, its attempt, and the digest of the child that it will put."""
    async with Broker(database_url) as broker:
        draft = await broker.create(f"{registry.host}/app:1", *plant_images(registry, "linux/amd64"))
    async with Broker(database_url, worker=False) as idle:
        path = f"/v1/lists/{draft['id']}/push"
        await idle.call("POST", path, {"insecure": True}, status=202, Prefer="respond-async")
    parts = build_parts(idle.settings, database_url)
    async with parts.database.transaction(SYSTEM) as tx:
        (claimed,) = await queue.claim(tx, worker="slow", free=FreeSlots(1), lease=timedelta(hours=1))
    attempt = Attempt(parts.database, claimed.operation, claimed.secret)
    return parts, attempt, draft["entries"][0]["descriptor"]["digest"]


async def read_push(parts: BrokerParts, operation: Operation) -> Push:
    assert operation.push_id is not None
    async with parts.database.transaction(SYSTEM) as tx:
        return await get_push(tx, operation.project_id, operation.push_id)


async def test_a_push_that_another_worker_has_claimed_moves_no_tag_and_writes_nothing(
    database_url: str, registry: RegistryDouble
) -> None:
    """A worker that was suspended for longer than its lease resumes before it learns of the loss."""
    parts, attempt, child = await claim_push(database_url, registry)
    hold = Hold()
    registry.misbehave(hold, method="PUT", path=f"/manifests/{child}")
    async with parts.outbound, parts.client:
        working = asyncio.ensure_future(parts.handlers[Kind.PUSH_LIST].perform(attempt))
        await wait_until_held(hold)
        async with parts.database.transaction(SYSTEM) as tx:
            await tx.execute(update(operations).values(attempt=operations.c.attempt + 1, worker="other"))
        hold.gate.set()
        with pytest.raises(LostLease):
            await working
    assert not registry.tag_puts
    push = await read_push(parts, attempt.operation)
    assert (push.state, push.previous, push.reached) == (PushState.QUEUED, {}, ())
    await parts.database.dispose()


async def test_a_tag_that_a_lost_attempt_may_have_moved_counts_as_moved(
    database_url: str, registry: RegistryDouble
) -> None:
    """The attempt reported that it was about to move the tag, but not the outcome. Older runs must see it."""
    parts, attempt, _ = await claim_push(database_url, registry)
    reference = parse_reference(f"{registry.host}/app:1")
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/manifests/1$")
    async with parts.outbound, parts.client:
        working = asyncio.ensure_future(parts.handlers[Kind.PUSH_LIST].perform(attempt))
        await wait_until_held(hold)
        async with parts.database.transaction(SYSTEM) as tx:
            lost = {"lost": 99, "lease_until": func.now() - timedelta(seconds=1)}
            await tx.execute(update(operations).values(attempt=operations.c.attempt + 1, **lost))
        hold.gate.set()
        with pytest.raises(LostLease):
            await working
    async with parts.database.transaction(SYSTEM) as tx:
        (ended,) = await queue.end_overdue(tx)
        await conclude(tx, parts.handlers, ended)
    push = await read_push(parts, attempt.operation)
    assert (push.state, push.reached) == (PushState.FAILED, ())
    async with parts.database.transaction(SYSTEM) as tx:
        heads = await load_heads(tx, ended.project_id, [reference])
    assert heads[reference].push_id == push.id
    await parts.database.dispose()
