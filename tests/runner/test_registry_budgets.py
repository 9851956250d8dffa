"""Workers that share a registry: what one learns all keep to, and who waits for it holds up nobody else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.errors import RegistryUnavailable
from app.oci.reference import Repository, parse_reference
from app.operations.operation import Operation
from app.operations.retries import RetryPolicy
from app.operations.states import Kind, State
from app.registry.client import RegistryClient
from app.services.operations.attempts import Attempt, Handler
from app.services.shared_budgets import SharedBudgets
from app.store.database import Database
from app.store.notifications import Notifications
from tests.support.images import make_image, plant
from tests.support.operation_queue import (
    ended,
    enqueued,
    event_kinds,
    listening,
    new_project,
    read,
    running,
    until,
)
from tests.support.registry import Fault, Hold, RegistryDouble, Reset, Status
from tests.support.registry_clients import INSECURE, LOOPBACK, QUICK, reference_at
from tests.support.registry_double.wire import Answer, Exchange

pytestmark = pytest.mark.slow

HOURS = timedelta(hours=1)
INSPECT = Kind.INSPECT_IMAGE
# A pause that lasts longer than this is the operation's to wait for.
LIMITS = replace(QUICK, patience_seconds=0.05)


class Worker:
    """What one process has: a registry client, what it shares of it, and a runner that inspects images."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.client = RegistryClient(LOOPBACK, limits=LIMITS)
        self.begun: list[UUID] = []

    async def perform(self, attempt: Attempt) -> None:
        self.begun.append(attempt.operation.id)
        reference = parse_reference(attempt.operation.request["reference"])
        access = replace(INSECURE, tenant=str(attempt.operation.project_id))
        await self.client.fetch_manifest(reference, access)
        async with self.database.transaction() as tx:
            await attempt.succeed(tx, {})


@asynccontextmanager
async def working(database: Database, url: str, **settings: Any) -> AsyncIterator[Worker]:
    worker = Worker(database)
    async with AsyncExitStack() as stack:
        notifications = await stack.enter_async_context(listening(url))
        await until(lambda: notifications.listening)
        await stack.enter_async_context(worker.client)
        sharing = asyncio.create_task(SharedBudgets(database, notifications, worker.client.budgets).run())
        stack.callback(sharing.cancel)
        handlers = {INSPECT: Handler(worker.perform)}
        await stack.enter_async_context(running(database, notifications, handlers, **settings))
        yield worker


@dataclass(frozen=True, slots=True)
class Limiter(Fault):
    """Refuses from the first request on for some seconds, and counts those who ask meanwhile."""

    seconds: float
    status: int = 429
    seen: Counter[str] = field(default_factory=Counter)
    until: list[float] = field(default_factory=list)

    async def instead(self, exchange: Exchange) -> Answer | None:
        now = asyncio.get_running_loop().time()
        if not self.until:
            self.until.append(now + self.seconds)
        if now >= self.until[0]:
            return None
        self.seen["refused"] += 1
        return Answer(self.status, {"Retry-After": str(self.until[0] - now)}, b"")


async def inspecting(
    database: Database, project_id: UUID, registry: RegistryDouble, path: str = "app"
) -> Operation:
    reference = reference_at(registry, f"{path}:1")
    return await enqueued(
        database,
        project_id,
        kind=INSPECT,
        request={"reference": str(reference)},
        registries=(reference.registry,),
    )


async def paused(registry: RegistryDouble, project_id: UUID, *workers: Worker) -> bool:
    """Whether all of them know that they may not ask for the project."""
    access = replace(INSECURE, tenant=str(project_id))
    account = await access.account_at(Repository(registry.host, "app"))
    return all(worker.client.budgets.at(registry.host, account, "app").pause > 0 for worker in workers)


async def blocked(database: Database) -> bool:
    statement = text("SELECT count(*) FROM registry_budgets WHERE blocked_until > clock_timestamp()")
    async with database.transaction() as tx:
        return bool((await tx.execute(statement)).scalar_one())


@pytest.fixture
async def other() -> AsyncIterator[RegistryDouble]:
    async with RegistryDouble() as double:
        plant(double, "app", "1", make_image())
        yield double


@pytest.mark.parametrize("status", [429, 503])
async def test_all_workers_keep_to_a_pause_and_it_costs_no_attempt(
    database: Database,
    database_url: str,
    notifications: Notifications,
    project_id: UUID,
    *,
    registry: RegistryDouble,
    other: RegistryDouble,
    status: int,
) -> None:
    plant(registry, "app", "1", make_image())
    limiter = Limiter(2.0, status)
    registry.misbehave(limiter, path="/manifests/", times=None)
    async with working(database, database_url) as one, working(database, database_url) as two:
        first = await inspecting(database, project_id, registry)
        await until(lambda: blocked(database))
        later = [await inspecting(database, project_id, registry) for _ in range(10)]
        elsewhere = [await inspecting(database, project_id, other) for _ in range(10)]
        await until(lambda: paused(registry, project_id, one, two))
        for operation in elsewhere:
            assert (await ended(database, notifications, operation)).state is State.SUCCEEDED
        assert limiter.seen["refused"] == 1
        outcomes = [await ended(database, notifications, each) for each in (first, *later)]
        assert limiter.seen["refused"] == 1
        assert {each.id for each in (first, *later, *elsewhere)} == {*one.begun, *two.begun}
    assert {each.state for each in outcomes} == {State.SUCCEEDED}
    assert outcomes[0].attempt == 2
    # The claim does not know what is closed to one account: it begins, and is parked without a request.
    assert {each.attempt for each in outcomes[1:]} <= {1, 2}
    assert await event_kinds(database, first) == ["queued", "running", "parked", "running", "succeeded"]


BROKEN = {
    "503": Status(503, headers={"Retry-After": "300"}),
    "503 until a date": Status(503, headers={"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}),
    "503 without a time": Status(503),
    "429": Status(429, headers={"Retry-After": "300"}),
    "429 without a time": Status(429),
    "502": Status(502),
    "504": Status(504, headers={"Retry-After": "300"}),
    "slow": Hold(),
    "reset": Reset(),
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
async def test_a_path_that_fails_for_one_project_delays_no_other(
    database: Database,
    database_url: str,
    notifications: Notifications,
    project_id: UUID,
    *,
    registry: RegistryDouble,
    fault: Fault,
) -> None:
    """The other project uses the same registry, once before the failures are known and once after."""
    plant(registry, "good/app", "1", make_image())
    registry.misbehave(fault, path="/bad/", times=None)
    other_project = await new_project(database)
    settings = {"concurrency": 64, "bulkhead_limit": 60, "policy": RetryPolicy(max_attempts=2, base=0.01)}
    async with working(database, database_url, **settings), working(database, database_url, **settings):
        # More than all the concurrent requests to one host.
        for number in range(80):
            await inspecting(database, other_project, registry, f"bad/app{number}")
        await registry.until(lambda: len(registry.received(path="/bad/")) > 1)
        for _ in range(2):
            operations = [await inspecting(database, project_id, registry, "good/app") for _ in range(3)]
            for operation in operations:
                outcome = await ended(database, notifications, operation)
                assert (outcome.state, outcome.attempt) == (State.SUCCEEDED, 1)
                assert "parked" not in await event_kinds(database, operation)
        if isinstance(fault, Hold):
            fault.gate.set()


async def test_an_operation_that_is_parked_repeatedly_is_not_given_up(
    database: Database,
    database_url: str,
    notifications: Notifications,
    project_id: UUID,
    registry: RegistryDouble,
) -> None:
    plant(registry, "app", "1", make_image())
    registry.misbehave(Status(429, headers={"Retry-After": "0.1"}), path="/manifests/", times=6)
    policy = RetryPolicy(max_attempts=2, base=0.01, cap=0.02)
    async with working(database, database_url, policy=policy):
        outcome = await ended(database, notifications, await inspecting(database, project_id, registry))
    assert outcome.state is State.SUCCEEDED
    # More often than it was refused, because the rate that it then keeps to is another reason to wait.
    assert outcome.attempt >= 7
    assert (await event_kinds(database, outcome)).count("parked") == outcome.attempt - 1


async def test_a_pause_stops_the_requests_of_running_operations_in_other_workers(
    database: Database,
    database_url: str,
    project_id: UUID,
    registry: RegistryDouble,
) -> None:
    plant(registry, "app", "1", make_image())
    registry.misbehave(Status(429, headers={"Retry-After": "60"}), path="/manifests/", times=None)
    async with working(database, database_url) as one, working(database, database_url) as two:
        operation = await inspecting(database, project_id, registry)
        await until(lambda: paused(registry, project_id, one, two))
        asked = len(registry.received(path="/manifests/"))
        access = replace(INSECURE, tenant=str(project_id))
        for worker in (one, two):
            with pytest.raises(Exception, match="was not sent"):
                await worker.client.fetch_manifest(reference_at(registry, "app:1"), access)
        assert len(registry.received(path="/manifests/")) == asked == 1
        parked = await read(database, operation)
        assert (parked.state, parked.problem) == (State.QUEUED, None)


async def test_a_worker_that_starts_during_a_pause_keeps_to_it(
    database: Database, database_url: str, project_id: UUID, registry: RegistryDouble
) -> None:
    plant(registry, "app", "1", make_image())
    registry.misbehave(Status(429, headers={"Retry-After": "60"}), path="/manifests/", times=None)
    async with working(database, database_url):
        await inspecting(database, project_id, registry)
        await until(lambda: blocked(database))
    async with working(database, database_url) as late:
        await until(lambda: paused(registry, project_id, late))
        assert len(registry.received(path="/manifests/")) == 1


async def test_operations_of_an_unresponsive_registry_do_not_delay_others(
    database: Database,
    database_url: str,
    notifications: Notifications,
    project_id: UUID,
    *,
    registry: RegistryDouble,
    other: RegistryDouble,
) -> None:
    plant(registry, "app", "1", make_image())
    hold = Hold()
    registry.misbehave(hold, path="/manifests/", times=None)
    stuck = [await inspecting(database, project_id, registry) for _ in range(100)]
    healthy = [await inspecting(database, project_id, other) for _ in range(10)]
    settings = {"concurrency": 16, "bulkhead_limit": 6}
    async with working(database, database_url, **settings), working(database, database_url, **settings):
        for operation in healthy:
            assert (await ended(database, notifications, operation)).state is State.SUCCEEDED

        async def share_is_taken() -> bool:
            states = Counter([(await read(database, each)).state for each in stuck])
            return states == {State.RUNNING: 12, State.QUEUED: 88}

        await until(share_is_taken)
        # The share is taken again as it becomes free, to the last.
        hold.gate.set()
        for operation in stuck:
            assert (await ended(database, notifications, operation)).state is State.SUCCEEDED


async def test_a_full_bulkhead_continues_without_waiting_for_a_poll(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    now, most = 0, 0

    async def perform(attempt: Attempt) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        async with database.transaction() as tx:
            await attempt.succeed(tx, {})

    waiting = [await enqueued(database, project_id, registries=("a.example",)) for _ in range(12)]
    async with running(
        database,
        notifications,
        {Kind.PUSH_LIST: Handler(perform)},
        concurrency=16,
        bulkhead_limit=3,
        poll=HOURS,
    ):
        for operation in waiting:
            assert (await ended(database, notifications, operation)).state is State.SUCCEEDED
    assert most == 3


async def test_a_failure_without_a_retry_after_counts_as_an_attempt(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    async def perform(attempt: Attempt) -> None:
        raise RegistryUnavailable("503")

    async with running(
        database,
        notifications,
        {Kind.PUSH_LIST: Handler(perform)},
        policy=RetryPolicy(max_attempts=3, base=0.001),
    ):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert (outcome.state, outcome.attempt) == (State.FAILED, 3)
