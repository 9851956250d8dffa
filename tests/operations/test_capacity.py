"""How the slots of a worker are divided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.operations.capacity import (
    CapacityPool,
    bulkhead_slots,
    project_bulkhead_slots,
    project_slots,
)
from app.operations.states import Kind


@pytest.mark.parametrize(("worker_slots", "slots"), [(1, 1), (2, 1), (3, 1), (8, 4), (64, 32)])
def test_a_pool_has_its_share_of_a_worker_and_at_least_one_slot(worker_slots: int, slots: int) -> None:
    assert CapacityPool(frozenset({Kind.DELIVER}), share=0.5).slots(worker_slots) == slots


@given(limit=st.integers(1, 100), free=st.integers(1, 100), running=st.integers(0, 100))
def test_a_bulkhead_leaves_free_as_many_slots_as_it_takes(limit: int, free: int, running: int) -> None:
    slots = bulkhead_slots(limit, free, running)
    assert slots <= limit
    assert slots <= free + running - slots + 1


@given(free=st.integers(1, 100))
def test_an_empty_bulkhead_has_a_slot_while_the_worker_has_one(free: int) -> None:
    assert bulkhead_slots(100, free, running=0) > 0


@given(share=st.floats(0.01, 0.85), slots=st.integers(2, 1_000))
def test_a_project_leaves_a_slot_of_every_worker_that_has_two(share: float, slots: int) -> None:
    assert 1 <= project_slots(share, slots) < slots


@pytest.mark.parametrize(("slots", "taken"), [(1, 1), (2, 2), (4, 4), (8, 7), (24, 21)])
def test_a_project_leaves_slots_of_every_large_bulkhead(slots: int, taken: int) -> None:
    assert project_bulkhead_slots(0.85, slots) == taken
