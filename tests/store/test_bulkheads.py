"""What is claimed when registries want a pause, and when many wait for the same ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from app.operations.capacity import Bulkhead, CapacityPool, FreeSlots, Share
from app.operations.operation import Operation
from app.operations.states import Kind, State
from app.store import operations as store
from app.store import queue
from app.store.budgets import budgets_since, forget_old_budgets, save_budget
from app.store.database import Database
from app.store.queue import Claimed
from tests.support.operation_queue import enqueued, event_kinds, lapse, new_project, read

LEASE = timedelta(seconds=60)
MINUTE = timedelta(minutes=1)
OVER = timedelta(seconds=-1)


DELIVERIES = CapacityPool(frozenset({Kind.DELIVER}), 0.5)


async def claim(
    database: Database, slots: int = 64, limit: int = 16, running: Mapping[Bulkhead, int] | None = None
) -> list[Claimed]:
    return await claim_free(database, FreeSlots(slots, limit, running=running or {}))


async def claim_free(database: Database, free: FreeSlots) -> list[Claimed]:
    async with database.transaction() as tx:
        return await queue.claim(tx, worker="one", free=free, lease=LEASE)


async def pause(database: Database, registry: str, length: timedelta = MINUTE) -> None:
    async with database.transaction() as tx:
        await save_budget(tx, registry, length, concurrency=4, rate=2.5)


async def many(database: Database, project_id: UUID, count: int, *registries: str) -> list[Operation]:
    return [await enqueued(database, project_id, registries=registries) for _ in range(count)]


def ids(claimed: list[Claimed]) -> list[UUID]:
    return [each.operation.id for each in claimed]


def bulkheads(claimed: list[Claimed]) -> Counter[Bulkhead]:
    return Counter(each.operation.registries for each in claimed)


# --- pauses ---


async def test_an_operation_is_not_claimed_while_one_of_its_registries_is_paused(
    database: Database, project_id: UUID
) -> None:
    (waiting,) = await many(database, project_id, 1, "b.example", "a.example")
    (other,) = await many(database, project_id, 1, "c.example")
    without = await enqueued(database, project_id)
    await pause(database, "a.example")
    assert ids(await claim(database)) == [other.id, without.id]
    still = await read(database, waiting)
    assert (still.state, still.attempt) == (State.QUEUED, 0)
    assert still.registries == ("a.example", "b.example")


async def test_a_pause_that_is_over_delays_nothing(database: Database, project_id: UUID) -> None:
    (operation,) = await many(database, project_id, 1, "a.example")
    await pause(database, "a.example", OVER)
    assert ids(await claim(database)) == [operation.id]


async def test_an_operation_that_lost_its_worker_waits_for_the_end_of_a_pause(
    database: Database, project_id: UUID
) -> None:
    (operation,) = await many(database, project_id, 1, "a.example")
    await claim(database)
    await lapse(database, operation)
    await pause(database, "a.example")
    assert await claim(database) == []
    assert (await read(database, operation)).attempt == 1


async def test_a_newer_operation_of_a_key_does_not_overtake_one_that_waits_for_a_registry(
    database: Database, project_id: UUID
) -> None:
    await enqueued(database, project_id, keys=("tag",), registries=("a.example",))
    await enqueued(database, project_id, keys=("tag",), registries=("b.example",))
    await pause(database, "a.example")
    assert await claim(database) == []


async def test_the_worker_wakes_at_the_end_of_a_pause(database: Database, project_id: UUID) -> None:
    await many(database, project_id, 1, "a.example")
    await pause(database, "a.example")
    async with database.transaction() as tx:
        due = await queue.next_due(tx)
    assert due is not None
    assert timedelta(seconds=50) < due <= MINUTE


async def test_a_shorter_pause_does_not_end_a_longer_one(database: Database) -> None:
    await pause(database, "a.example")
    await pause(database, "a.example", timedelta(0))
    async with database.transaction() as tx:
        (budget,) = await budgets_since(tx, MINUTE)
    assert timedelta(seconds=50) < budget.blocked_for <= MINUTE
    assert (budget.registry, budget.concurrency, budget.rate) == ("a.example", 4, 2.5)


async def test_old_budgets_are_removed(database: Database) -> None:
    for registry, length in (("a.example", OVER), ("b.example", OVER), ("c.example", timedelta(hours=3))):
        await pause(database, registry, length)
    async with database.transaction() as tx:
        await tx.execute(
            text(
                "UPDATE registry_budgets SET updated_at = updated_at - interval '2 hours'"
                " WHERE registry <> 'b.example'"
            )
        )
        assert await forget_old_budgets(tx) == 1
        assert {each.registry for each in await budgets_since(tx, MINUTE)} == {"b.example", "c.example"}


async def test_a_parked_attempt_does_not_count_and_names_the_end_of_the_pause(
    database: Database, project_id: UUID
) -> None:
    (operation,) = await many(database, project_id, 1, "a.example")
    for number in range(1, 9):
        (claimed,) = await claim(database)
        assert (claimed.operation.attempt, claimed.counted) == (number, 1)
        async with database.transaction() as tx:
            await queue.park(tx, operation.id, number, timedelta(0), problem={"code": "rate-limited"})
    assert await event_kinds(database, operation) == ["queued", *["running", "parked"] * 8]
    async with database.transaction() as tx:
        last = (await store.events_after(tx, project_id, operation.id, 0, 100))[-1]
    parked = await read(database, operation)
    assert last.data["until"] == parked.run_at.isoformat()
    assert last.data["problem"] == {"code": "rate-limited"}
    assert parked.problem is None


# --- shares ---


async def test_many_operations_of_one_registry_leave_slots_for_another(
    database: Database, project_id: UUID
) -> None:
    slow = await many(database, project_id, 100, "slow.example")
    healthy = await many(database, project_id, 10, "healthy.example")
    claimed = await claim(database)
    assert bulkheads(claimed) == {("slow.example",): 16, ("healthy.example",): 10}
    assert ids(claimed) == [each.id for each in (*slow[:16], *healthy)]
    assert await claim(database, slots=38, running=bulkheads(claimed)) == []


async def test_a_single_registry_takes_no_more_slots_than_it_leaves_free(
    database: Database, project_id: UUID
) -> None:
    await many(database, project_id, 20, "slow.example")
    assert len(await claim(database, slots=8)) == 4


@pytest.mark.parametrize(("limit", "taken"), [(1, 1), (2, 1), (3, 2)])
async def test_a_worker_with_one_slot_serves_a_registry(
    database: Database, project_id: UUID, limit: int, taken: int
) -> None:
    await many(database, project_id, 5, "slow.example")
    assert len(await claim(database, slots=limit)) == taken


async def test_many_slow_registries_leave_a_slot_for_another(database: Database, project_id: UUID) -> None:
    held: Counter[Bulkhead] = Counter()
    for number in range(6):
        await many(database, project_id, 20, f"slow-{number}.example")
        held += bulkheads(await claim(database, slots=64 - held.total(), running=held))
        assert held[(f"slow-{number}.example",)] > 0
    assert held.total() < 64


async def test_operations_without_registries_may_take_every_slot(
    database: Database, project_id: UUID
) -> None:
    for _ in range(10):
        await enqueued(database, project_id)
    assert len(await claim(database, slots=8, limit=2)) == 8


async def test_operations_for_two_registries_have_a_bulkhead_of_their_own(
    database: Database, project_id: UUID
) -> None:
    await many(database, project_id, 30, "slow.example", "healthy.example")
    await many(database, project_id, 5, "healthy.example")
    assert bulkheads(await claim(database))[("healthy.example",)] == 5


# --- deliveries ---


async def test_deliveries_to_many_receivers_leave_slots_for_other_kinds(
    database: Database, project_id: UUID
) -> None:
    for nth in range(8):
        await enqueued(database, project_id, kind=Kind.DELIVER, registries=(f"{nth}.example",))
    (asked,) = await many(database, project_id, 1, "a.example")
    claimed = await claim_free(database, FreeSlots(8, pools={DELIVERIES: 3}))
    assert [each.operation.kind for each in claimed] == [Kind.DELIVER] * 3 + [asked.kind]


async def test_deliveries_in_a_full_bulkhead_take_no_slots_of_the_pool(
    database: Database, project_id: UUID
) -> None:
    for _ in range(4):
        await enqueued(database, project_id, kind=Kind.DELIVER, registries=("hanging.example",))
    other = await enqueued(database, project_id, kind=Kind.DELIVER, registries=("b.example",))
    claimed = await claim_free(database, FreeSlots(8, 1, pools={DELIVERIES: 2}))
    assert [each.operation.registries for each in claimed] == [("hanging.example",), other.registries]


async def test_deliveries_that_lost_their_worker_take_slots_of_the_pool(
    database: Database, project_id: UUID
) -> None:
    operations = [await enqueued(database, project_id, kind=Kind.DELIVER) for _ in range(2)]
    await claim(database)
    await lapse(database, operations[0])
    await lapse(database, operations[1])
    await enqueued(database, project_id, kind=Kind.DELIVER)
    for deliveries, expected in ((0, 0), (2, 2)):
        taken = await claim_free(database, FreeSlots(8, pools={DELIVERIES: deliveries}))
        assert len(taken) == expected


# --- projects ---


async def test_a_project_with_many_operations_for_a_registry_leaves_slots_for_other_projects(
    database: Database, project_id: UUID
) -> None:
    much = await many(database, project_id, 30, "a.example")
    little = await many(database, await new_project(database), 3, "a.example")
    assert ids(await claim(database, limit=6)) == [each.id for each in (*much[:3], *little)]


async def test_the_next_free_slot_of_a_bulkhead_goes_to_the_project_that_runs_fewest(
    database: Database, project_id: UUID
) -> None:
    await many(database, project_id, 30, "a.example")
    held = bulkheads(await claim(database, limit=6))
    first, _ = await many(database, await new_project(database), 2, "a.example")
    assert ids(await claim(database, limit=7, running=held)) == [first.id]


async def test_a_project_that_asks_many_registries_leaves_slots_for_other_projects(
    database: Database, project_id: UUID
) -> None:
    for nth in range(12):
        await many(database, project_id, 1, f"{nth}.example")
    little = await many(database, await new_project(database), 3, "a.example")
    assert set(ids(await claim(database, slots=6))) > {each.id for each in little}


async def test_the_next_free_slot_of_a_worker_goes_to_the_project_that_runs_fewest(
    database: Database, project_id: UUID
) -> None:
    for _ in range(8):
        await enqueued(database, project_id)
    await claim(database, slots=4)
    (other,) = await many(database, await new_project(database), 1, "a.example")
    assert ids(await claim(database, slots=1)) == [other.id]


async def test_an_operation_that_lost_its_worker_does_not_delay_another_project(
    database: Database, project_id: UUID
) -> None:
    (lost,) = await many(database, project_id, 1, "a.example")
    await claim(database)
    await lapse(database, lost)
    await many(database, project_id, 5, "b.example")
    (other,) = await many(database, await new_project(database), 1, "c.example")
    assert ids(await claim(database, slots=2)) == [lost.id, other.id]


async def test_priority_comes_before_the_alternation_of_projects(
    database: Database, project_id: UUID
) -> None:
    other = await new_project(database)
    await enqueued(database, other, registries=("a.example",))
    urgent = [await enqueued(database, project_id, registries=("a.example",), priority=-1) for _ in range(5)]
    assert ids(await claim(database, limit=4)) == [each.id for each in urgent[:4]]


async def test_the_deliveries_of_one_project_leave_slots_for_those_of_others(
    database: Database, project_id: UUID
) -> None:
    for nth in range(8):
        await enqueued(database, project_id, kind=Kind.DELIVER, registries=(f"{nth}.example",))
    other = await enqueued(
        database, await new_project(database), kind=Kind.DELIVER, registries=("b.example",)
    )
    claimed = await claim_free(database, FreeSlots(8, pools={DELIVERIES: 3}))
    assert ids(claimed)[-1] == other.id


# --- shares of projects ---


async def spread(database: Database, project_id: UUID, count: int) -> list[Operation]:
    """Each for another set of registries, so that no bulkhead holds them back."""
    return [(await many(database, project_id, 1, f"{nth}.{project_id}.example"))[0] for nth in range(count)]


async def test_a_project_leaves_a_share_of_the_slots_to_others_however_many_registries_it_asks(
    database: Database, project_id: UUID
) -> None:
    much = await spread(database, project_id, 12)
    claimed = await claim_free(database, FreeSlots(8, project_share=0.75))
    assert ids(claimed) == [each.id for each in much[:6]]
    held = Counter((each.operation.project_id, each.operation.registries) for each in claimed)
    free = FreeSlots(2, project_share=0.75, held=held)
    assert await claim_free(database, free) == []
    (other,) = await spread(database, await new_project(database), 1)
    assert ids(await claim_free(database, free)) == [other.id]


async def test_each_of_several_workers_leaves_a_share_of_its_own_slots(
    database: Database, project_id: UUID
) -> None:
    await spread(database, project_id, 20)
    for worker in ("one", "two"):
        async with database.transaction() as tx:
            free = FreeSlots(8, project_share=0.75)
            assert len(await queue.claim(tx, worker=worker, free=free, lease=LEASE)) == 6


async def test_operations_without_registries_leave_the_share_too(
    database: Database, project_id: UUID
) -> None:
    for _ in range(12):
        await enqueued(database, project_id)
    assert len(await claim_free(database, FreeSlots(8, project_share=0.75))) == 6


async def test_a_project_leaves_a_share_of_a_bulkhead_to_others(database: Database, project_id: UUID) -> None:
    await many(database, project_id, 20, "a.example")
    free = FreeSlots(64, 8, project_share=0.75)
    claimed = await claim_free(database, free)
    assert bulkheads(claimed) == {("a.example",): 6}
    held: Counter[Share] = Counter({(project_id, ("a.example",)): 6})
    left = FreeSlots(58, 8, running=bulkheads(claimed), project_share=0.75, held=held)
    assert await claim_free(database, left) == []
    others = await many(database, await new_project(database), 3, "a.example")
    assert ids(await claim_free(database, left)) == [each.id for each in others[:2]]


async def test_the_share_of_a_project_counts_what_its_pools_let_through(
    database: Database, project_id: UUID
) -> None:
    for nth in range(8):
        await enqueued(database, project_id, kind=Kind.DELIVER, registries=(f"{nth}.example",))
    asked = await spread(database, project_id, 8)
    claimed = await claim_free(database, FreeSlots(8, pools={DELIVERIES: 2}, project_share=0.75))
    assert set(ids(claimed)) >= {each.id for each in asked[:4]}
    assert len(claimed) == 6


@pytest.mark.parametrize("slots", [1, 2])
async def test_a_project_has_a_slot_of_the_smallest_worker(
    database: Database, project_id: UUID, slots: int
) -> None:
    await spread(database, project_id, 3)
    assert len(await claim_free(database, FreeSlots(slots, 1, project_share=0.5))) == 1


# --- pools ---


async def test_each_pool_has_its_own_slots(database: Database, project_id: UUID) -> None:
    plans = CapacityPool(frozenset({Kind.PLAN_PUSH, Kind.REFRESH_LIST}), 0.25)
    for kind in (Kind.DELIVER, Kind.PLAN_PUSH, Kind.REFRESH_LIST, Kind.PUSH_LIST):
        for _ in range(3):
            await enqueued(database, project_id, kind=kind)
    claimed = await claim_free(database, FreeSlots(12, pools={DELIVERIES: 2, plans: 1}))
    kinds = Counter(each.operation.kind for each in claimed)
    assert kinds == {Kind.DELIVER: 2, Kind.PLAN_PUSH: 1, Kind.PUSH_LIST: 3}


async def test_operations_that_lost_their_worker_take_slots_of_their_own_pool_alone(
    database: Database, project_id: UUID
) -> None:
    plans = CapacityPool(frozenset({Kind.PLAN_PUSH}), 0.25)
    lost = await enqueued(database, project_id, kind=Kind.DELIVER)
    await claim(database)
    await lapse(database, lost)
    await enqueued(database, project_id, kind=Kind.DELIVER)
    plan = await enqueued(database, project_id, kind=Kind.PLAN_PUSH)
    claimed = await claim_free(database, FreeSlots(8, pools={DELIVERIES: 1, plans: 1}))
    assert ids(claimed) == [lost.id, plan.id]
