"""Workers are killed or stall during pushes: each push ends once, and moves its tag completely or not.

KILLED_PUSHES makes it longer.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from scripts.soak_lib.broker_soak import Caller, order_all
from scripts.soak_lib.client_soak import Soak, Tally, failing_registries
from tests.support.broker import Broker, new_token
from tests.support.broker_replicas import Replicas, push_workers, variables_for
from tests.support.images import make_image
from tests.support.planted_images import plant_image, plant_images
from tests.support.postgres import connected
from tests.support.push_worker import LEASE
from tests.support.registry import Fault, RegistryDouble, Rule, Silence
from tests.support.registry_clients import until
from tests.support.registry_double.wire import Answer, Exchange
from tests.support.workers import Workers

PUSHES = int(os.environ.get("KILLED_PUSHES", "24"))
PATIENCE_SECONDS = 180 + 5 * PUSHES
SECONDS_BETWEEN = 2.0
# Each push fails now and then for other reasons too.
FAULTS = 0.02

ENDS = text(
    "SELECT state, count(operation_events.id) AS ends FROM operations LEFT JOIN operation_events "
    "ON operation_id = operations.id AND operation_events.kind IN ('succeeded', 'failed', 'cancelled') "
    "GROUP BY operations.id"
)
PUSH = {"insecure": True}
OPERATIONS = text("SELECT count(*) FROM operations")
PUSH_STATES = text("SELECT DISTINCT state FROM pushes")


@dataclass(frozen=True, slots=True)
class Late(Fault):
    """The registry takes a moment of random length, so that deaths come in the midst of pushes."""

    dice: random.Random
    longest: float = 0.08

    async def instead(self, exchange: Exchange) -> Answer | None:
        await exchange.pause(self.longest * self.dice.random())
        return None


@asynccontextmanager
async def late_registries(plan: Soak, tally: Tally) -> AsyncIterator[list[RegistryDouble]]:
    async with failing_registries(plan, tally) as doubles:
        for double in doubles:
            double.misbehave(Late(random.Random(plan.seed)), times=None)
        yield doubles


async def survive(
    plan: Soak, database_url: str, harm: Callable[[Workers, random.Random], Awaitable[None]]
) -> Tally:
    """All pushes of the plan, while workers are harmed now and then; some work is done between."""
    tally, dice = Tally(), random.Random(plan.seed)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        late_registries(plan, tally) as doubles,
        Broker(database_url, worker=False, pool_size=10) as broker,
        push_workers(variables_for(database_url, doubles), dice) as workers,
    ):
        ordering = asyncio.create_task(order_all(plan, Caller(broker, tally), doubles, tally))
        ended = 0
        while not ordering.done():
            await asyncio.sleep(SECONDS_BETWEEN * (0.5 + dice.random()))
            if ended != tally.attempts and not ordering.done():
                ended = tally.attempts
                await harm(workers, dice)
        await ordering
        for double in doubles:
            bodies = {(put.repository, put.tag, put.digest) for put in double.tag_puts}
            assert len(bodies) == len({(repository, tag) for repository, tag, _ in bodies})
    return tally


async def check(plan: Soak, tally: Tally, database_url: str) -> None:
    assert tally.succeeded == plan.pushes, tally
    assert tally.wrong == tally.partial == 0
    async with connected(database_url) as connection:
        ended = (await connection.execute(ENDS)).all()
        states = (await connection.execute(PUSH_STATES)).scalars().all()
    assert len(ended) >= 2 * plan.pushes
    assert {row.ends for row in ended} == {1}
    assert states == ["succeeded"]


async def test_pushes_succeed_although_their_workers_are_killed(
    seed: int, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, deaths = Soak(PUSHES, FAULTS, seed, side_by_side=12), 0

    async def kill(workers: Workers, dice: random.Random) -> None:
        nonlocal deaths
        await workers.kill_one()
        deaths = workers.deaths

    tally = await survive(plan, database_url, kill)
    with capsys.disabled():
        print(f"\nseed {seed}, {PUSHES} pushes, {deaths} workers killed: {tally}")  # noqa: T201
    await check(plan, tally, database_url)
    assert deaths


async def test_nothing_is_lost_or_done_twice_although_any_process_may_be_killed(
    seed: int, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """API processes too: who got no answer asks another one with the same Idempotency-Key."""
    plan, tally, dice = Soak(PUSHES, FAULTS, seed, side_by_side=4), Tally(), random.Random(seed)
    async with asyncio.timeout(PATIENCE_SECONDS), late_registries(plan, tally) as doubles:
        variables = variables_for(database_url, doubles)
        async with (
            Replicas(new_token(), dice, variables=variables) as replicas,
            push_workers(variables, dice, count=2) as workers,
        ):
            caller = Caller(replicas, tally)
            ordering = asyncio.create_task(order_all(plan, caller, doubles, tally))
            while not ordering.done():
                await replicas.kill_one()
                await workers.kill_one()
            await ordering
    with capsys.disabled():
        deaths = f"{replicas.deaths} API processes and {workers.deaths} workers killed"
        print(f"\nseed {seed}, {PUSHES} pushes, {deaths}: {tally}")  # noqa: T201
    await check(plan, tally, database_url)
    assert replicas.deaths
    assert workers.deaths
    async with connected(database_url) as connection:
        assert (await connection.execute(OPERATIONS)).scalar_one() == len(caller.keys)


async def test_a_worker_that_resumes_after_its_lease_changes_nothing(seed: int, database_url: str) -> None:
    plan = Soak(PUSHES // 2, FAULTS, seed, side_by_side=12)

    async def stall(workers: Workers, dice: random.Random) -> None:
        await workers.stall_one(LEASE.total_seconds() * (1 + dice.random() / 2))

    await check(plan, await survive(plan, database_url, stall), database_url)


# What the worker waits for when it dies: a request, whether it took effect, and how many like it came first.
MOMENTS = (
    ("POST", "/blobs/uploads/", False, 0),
    ("POST", "/blobs/uploads/", True, 2),
    ("PUT", "/blobs/uploads/", False, 1),
    ("PUT", "/blobs/uploads/", True, 0),
    ("PUT", "/manifests/sha256:", False, 0),
    ("PUT", "/manifests/sha256:", True, 1),
    ("PUT", "/manifests/1$", False, 0),
    ("PUT", "/manifests/1$", True, 0),
    ("GET", "/manifests/1$", False, 0),
)


async def test_a_push_continues_from_any_point_at_which_its_worker_is_killed(
    database_url: str, registry: RegistryDouble, seed: int
) -> None:
    """And what its tag held before is what it held before the first attempt."""
    token = new_token()
    async with RegistryDouble() as source:
        sources = plant_images(source, "linux/amd64", "linux/arm64") + plant_images(registry, "linux/s390x")
        async with Broker(database_url, token=token) as composer:
            drafts = [
                await composer.create(f"{registry.host}/app{n}:1", *sources) for n in range(len(MOMENTS))
            ]
        for n in range(len(MOMENTS)):
            plant_image(registry, f"app{n}", make_image(seed="before"))
        moments = [
            registry.misbehave(Silence(takes_effect=done), method=method, path=f"/app{n}{path}", after=after)
            for n, (method, path, done, after) in enumerate(MOMENTS)
        ]
        pushed = await push_through_a_death(database_url, token, drafts, moments, random.Random(seed))
    before = make_image(seed="before").digest
    for n, operation in enumerate(pushed):
        assert operation["state"] == "succeeded", (MOMENTS[n], operation["problem"])
        assert operation["attempts"] == 2, MOMENTS[n]
        (reached,) = operation["result"]["targets"]
        assert reached["previous_digest"] == before, MOMENTS[n]
        assert registry.tags(f"app{n}") == {"1": drafts[n]["digest"]}
    assert registry.partial_tag_puts == []


async def push_through_a_death(
    database_url: str, token: str, drafts: Sequence[Any], moments: Sequence[Rule], dice: random.Random
) -> list[Any]:
    """The operations of these pushes, whose worker is killed when all have come to their moment."""
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        Broker(database_url, worker=False, token=token) as broker,
        push_workers(variables_for(database_url, ()), dice, count=1) as workers,
    ):
        accepted = [
            await broker.call(
                "POST", f"/v1/lists/{draft['id']}/push", PUSH, status=202, Prefer="respond-async"
            )
            for draft in drafts
        ]
        await until(lambda: all(moment.hits for moment in moments))
        await workers.kill_one()
        return [await broker.ended(operation["id"]) for operation in accepted]
