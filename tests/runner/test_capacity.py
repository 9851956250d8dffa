"""What a worker may claim, and when it looks again after a claim."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from app.operations.capacity import CapacityPool
from app.operations.operation import Operation
from app.operations.states import Kind, State
from app.runner.capacity import Capacity
from app.runner.lease import Lease
from app.store.queue import Claimed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DELIVERIES = CapacityPool(frozenset({Kind.DELIVER}), share=0.5)


async def lease(kind: Kind = Kind.PUSH_LIST, *registries: str, project_id: UUID | None = None) -> Lease:
    operation = Operation(
        id=uuid4(),
        project_id=project_id or uuid4(),
        kind=kind,
        state=State.RUNNING,
        list_id=None,
        push_id=None,
        request={},
        progress={},
        attempt=1,
        result=None,
        problem=None,
        created_by="tests",
        created_at=NOW,
        started_at=NOW,
        ended_at=None,
        run_at=NOW,
        deadline_at=NOW + HOUR,
        cancel_requested=False,
        keys=(),
        registries=registries,
        trace=None,
        sequence=1,
    )
    return Lease(Claimed(operation, None, 1, HOUR), until=0.0)


async def taken(
    capacity: Capacity, count: int, kind: Kind, *registries: str, project_id: UUID | None = None
) -> list[Lease]:
    leases = [await lease(kind, *registries, project_id=project_id) for _ in range(count)]
    for each in leases:
        capacity.take(each)
    return leases


async def test_a_held_operation_takes_a_slot_of_the_worker_of_its_pool_and_of_its_bulkhead() -> None:
    capacity = Capacity(8, bulkhead_limit=3, pools=[DELIVERIES])
    await taken(capacity, 1, Kind.DELIVER, "hook.example")
    await taken(capacity, 2, Kind.PUSH_LIST)
    free = capacity.free_slots()
    assert (free.slots, free.bulkhead_limit) == (5, 3)
    assert free.pools == {DELIVERIES: 3}
    assert free.running == {("hook.example",): 1}


async def test_a_released_operation_gives_its_slots_back() -> None:
    capacity = Capacity(2, bulkhead_limit=2, pools=[DELIVERIES])
    (delivery,) = await taken(capacity, 1, Kind.DELIVER, "hook.example")
    capacity.release(delivery)
    assert capacity.free_slots() == Capacity(2, bulkhead_limit=2, pools=[DELIVERIES]).free_slots()


async def test_a_full_pool_leaves_no_room_for_its_kinds() -> None:
    capacity = Capacity(4, bulkhead_limit=4, pools=[DELIVERIES])
    assert capacity.has_free_slots_everywhere()
    await taken(capacity, 2, Kind.DELIVER)
    assert not capacity.has_free_slots_everywhere()


async def test_a_full_bulkhead_leaves_no_room_for_its_registries() -> None:
    capacity = Capacity(8, bulkhead_limit=2)
    await taken(capacity, 1, Kind.PUSH_LIST, "a.example")
    assert capacity.has_free_slots_everywhere()
    await taken(capacity, 1, Kind.PUSH_LIST, "a.example")
    assert not capacity.has_free_slots_everywhere()


async def test_a_bulkhead_within_a_pool_leaves_free_the_slots_of_the_pool() -> None:
    capacity = Capacity(8, bulkhead_limit=8, pools=[DELIVERIES])
    await taken(capacity, 2, Kind.DELIVER, "hook.example")
    # Six slots of the worker are free, but only two of the pool.
    assert not capacity.has_free_slots_everywhere()


async def test_the_worker_does_not_claim_again_after_a_claim_that_left_slots_free() -> None:
    capacity = Capacity(4, bulkhead_limit=4)
    asked = capacity.free_slots()
    claimed = await taken(capacity, 2, Kind.PUSH_LIST)
    assert not capacity.can_claim_more_than(asked, claimed)


async def test_the_worker_claims_again_when_a_slot_became_free_during_a_claim_that_filled_it() -> None:
    capacity = Capacity(2, bulkhead_limit=2)
    (before,) = await taken(capacity, 1, Kind.PUSH_LIST)
    asked = capacity.free_slots()
    claimed = await taken(capacity, 1, Kind.PUSH_LIST)
    assert not capacity.can_claim_more_than(asked, claimed)
    capacity.release(before)
    assert capacity.can_claim_more_than(asked, claimed)


async def test_the_worker_claims_again_when_a_full_pool_has_a_slot_again() -> None:
    capacity = Capacity(8, bulkhead_limit=8, pools=[DELIVERIES])
    before = await taken(capacity, 3, Kind.DELIVER)
    asked = capacity.free_slots()
    claimed = await taken(capacity, 1, Kind.DELIVER)
    assert not capacity.can_claim_more_than(asked, claimed)
    capacity.release(before[0])
    assert capacity.can_claim_more_than(asked, claimed)


async def test_the_worker_claims_again_when_a_full_bulkhead_has_a_slot_again() -> None:
    capacity = Capacity(16, bulkhead_limit=2)
    (before,) = await taken(capacity, 1, Kind.PUSH_LIST, "a.example")
    asked = capacity.free_slots()
    claimed = await taken(capacity, 1, Kind.PUSH_LIST, "a.example")
    assert not capacity.can_claim_more_than(asked, claimed)
    capacity.release(before)
    assert capacity.can_claim_more_than(asked, claimed)


async def test_a_project_that_has_its_share_of_the_slots_waits_for_one() -> None:
    capacity, project_id = Capacity(8, bulkhead_limit=8, project_share=0.75), uuid4()
    await taken(capacity, 5, Kind.PUSH_LIST, project_id=project_id)
    assert capacity.has_free_slots_everywhere()
    await taken(capacity, 1, Kind.PUSH_LIST, project_id=project_id)
    assert capacity.free_slots().held == {(project_id, ()): 6}
    assert not capacity.has_free_slots_everywhere()


async def test_a_project_that_has_its_share_of_a_bulkhead_waits_for_a_slot() -> None:
    capacity, project_id = Capacity(64, bulkhead_limit=4, project_share=0.75), uuid4()
    await taken(capacity, 2, Kind.PUSH_LIST, "a.example", project_id=project_id)
    assert capacity.has_free_slots_everywhere()
    await taken(capacity, 1, Kind.PUSH_LIST, "a.example", project_id=project_id)
    assert not capacity.has_free_slots_everywhere()


@pytest.mark.parametrize(("registries", "claims"), [((), 3), (("a.example",), 1)])
async def test_the_worker_claims_again_when_the_share_of_a_project_has_a_slot_again(
    registries: tuple[str, ...], claims: int
) -> None:
    capacity, project_id = Capacity(8, bulkhead_limit=4, project_share=0.5), uuid4()
    (before,) = await taken(capacity, 1, Kind.PUSH_LIST, *registries, project_id=project_id)
    asked = capacity.free_slots()
    claimed = await taken(capacity, claims, Kind.PUSH_LIST, *registries, project_id=project_id)
    assert not capacity.can_claim_more_than(asked, claimed)
    capacity.release(before)
    assert capacity.can_claim_more_than(asked, claimed)
