"""An attempt that has lost its operation while it was at work touches nothing any more."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from app.operations.states import Kind
from app.services.operations.attempts import Attempt, conclude
from app.store import queue
from app.store.heads import load_heads
from app.store.operation_changes import LostLease
from app.store.operations import Operation
from app.store.pushes import Push, get_push
from app.store.tables import operations
from app.wiring import wire
from app.wiring.parts import Wired
from tests.support.broker import Broker
from tests.support.registry import Hold, RegistryDouble
from tests.support.shelf import arrival, shelve


async def claim_push(database_url: str, registry: RegistryDouble) -> tuple[Wired, Attempt, str]:
    """The parts of a worker that has a push to carry out, and the child that it will put."""
    async with Broker(database_url) as broker:
        draft = await broker.create(f"{registry.host}/app:1", *shelve(registry, "linux/amd64"))
    async with Broker(database_url, worker=False) as idle:
        path = f"/v1/lists/{draft['id']}/push"
        await idle.call("POST", path, {"insecure": True}, status=202, Prefer="respond-async")
    wired = wire(idle.settings, database_url)
    async with wired.database.transaction() as tx:
        (claimed,) = await queue.claim(tx, worker="slow", limit=1, lease=timedelta(hours=1))
    attempt = Attempt(wired.database, claimed.operation, claimed.secret)
    return wired, attempt, draft["entries"][0]["descriptor"]["digest"]


async def read_push(wired: Wired, operation: Operation) -> Push:
    assert operation.push_id is not None
    async with wired.database.transaction() as tx:
        return await get_push(tx, operation.project_id, operation.push_id)


async def test_a_push_that_another_worker_has_by_now_moves_no_tag_and_writes_nothing(
    database_url: str, registry: RegistryDouble
) -> None:
    """As one does that stood still for longer than its lease, and wakes up before it hears of that."""
    wired, attempt, child = await claim_push(database_url, registry)
    hold = Hold()
    registry.misbehave(hold, method="PUT", path=f"/manifests/{child}")
    async with wired.client:
        working = asyncio.ensure_future(wired.handlers[Kind.PUSH_LIST].perform(attempt))
        await arrival(hold)
        async with wired.database.transaction() as tx:
            await tx.execute(update(operations).values(attempt=operations.c.attempt + 1, worker="other"))
        hold.gate.set()
        with pytest.raises(LostLease):
            await working
    assert not registry.tag_puts
    push = await read_push(wired, attempt.operation)
    assert (push.state, push.previous, push.reached) == ("queued", {}, [])
    await wired.database.dispose()


async def test_what_a_lost_attempt_may_have_moved_counts_as_moved(
    database_url: str, registry: RegistryDouble
) -> None:
    """It has not said how far it came, but that it was about to: older runs must find that out."""
    wired, attempt, _ = await claim_push(database_url, registry)
    reference = f"{registry.host}/app:1"
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/manifests/1$")
    async with wired.client:
        working = asyncio.ensure_future(wired.handlers[Kind.PUSH_LIST].perform(attempt))
        await arrival(hold)
        async with wired.database.transaction() as tx:
            lost = {"lost": 99, "lease_until": func.now() - timedelta(seconds=1)}
            await tx.execute(update(operations).values(attempt=operations.c.attempt + 1, **lost))
        hold.gate.set()
        with pytest.raises(LostLease):
            await working
    async with wired.database.transaction() as tx:
        (buried,) = await queue.bury(tx)
        await conclude(tx, wired.handlers, buried)
    push = await read_push(wired, attempt.operation)
    assert (push.state, push.reached) == ("failed", [])
    async with wired.database.transaction() as tx:
        heads = await load_heads(tx, buried.project_id, [reference])
    assert heads[reference].push_id == push.id
    await wired.database.dispose()
