"""How the number of concurrent transfers adapts to refusals."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.transfers import TransferLimit, TransferLimits

MOST = 8


def run_round(limit: TransferLimit, bearable: int) -> int:
    """As many transfers as the limit allows, of which the host refuses those it can't bear; how many."""
    sent = limit.size
    accepted = min(sent, bearable)
    for left in range(sent, accepted, -1):
        limit.record_refusal(others=left - 1)
    for _ in range(accepted):
        limit.record_success(in_use=sent)
    return sent - accepted


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2 * MOST)), max_size=200))
def test_the_limit_stays_between_one_and_the_configured_one(responses: list[tuple[bool, int]]) -> None:
    limit = TransferLimit(MOST)
    for is_refused, others in responses:
        if is_refused:
            limit.record_refusal(others=others)
        else:
            limit.record_success(in_use=others)
        assert 1 <= limit.size <= MOST


@pytest.mark.parametrize("bearable", range(1, MOST))
def test_the_first_refusals_lower_the_limit_to_what_the_host_bears(bearable: int) -> None:
    limit = TransferLimit(MOST)
    run_round(limit, bearable)
    assert limit.size == bearable


@given(bearable=st.integers(2, MOST), most=st.integers(2, 32))
def test_few_transfers_are_refused_in_the_long_run(bearable: int, most: int) -> None:
    limit = TransferLimit(most)
    run_round(limit, bearable)
    refused = sum(run_round(limit, bearable) for _ in range(200))
    assert limit.size <= bearable + 2
    assert refused <= 2 * 200


@given(bearable=st.integers(1, MOST))
def test_the_limit_reaches_what_the_host_bears_again(bearable: int) -> None:
    limit = TransferLimit(MOST)
    for _ in range(10):
        run_round(limit, 0)
    assert limit.size == 1
    for _ in range(100):
        run_round(limit, bearable)
    assert limit.size >= bearable


@given(share=st.floats(0, 0.06), seed=st.integers(0, 1000))
def test_refusals_by_chance_leave_most_of_the_transfers(share: float, seed: int) -> None:
    dice = random.Random(seed)
    limit, sizes = TransferLimit(MOST), []
    for _ in range(1000):
        if dice.random() < share:
            limit.record_refusal(others=dice.randrange(limit.size))
        else:
            limit.record_success(in_use=limit.size)
        sizes.append(limit.size)
    assert sum(sizes) / len(sizes) >= MOST / 2


def test_transfers_that_leave_most_slots_free_do_not_raise_the_limit() -> None:
    limit = TransferLimit(MOST)
    run_round(limit, 4)
    for _ in range(100):
        limit.record_success(in_use=1)
    assert limit.size == 4


def test_no_account_learns_from_another() -> None:
    limits = TransferLimits(MOST)
    ann = limits.of("registry.example", "ann")
    with ann.under_way(), ann.under_way():
        ann.record(is_refused=True)
    assert ann.semaphore.size == MOST // 2
    assert limits.of("registry.example", "bob").semaphore.size == MOST
    for number in range(3000):
        limits.of(f"{number}.example", "bob")
    assert limits.of("registry.example", "ann") is ann
