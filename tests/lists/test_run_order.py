"""The order of two runs of one tag."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lists.run_order import RunOrder
from tests.lists.builders import NOW

LATER = NOW + timedelta(seconds=1)
orders = st.builds(
    RunOrder,
    st.integers(0, 3).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    st.none() | st.integers(0, 3),
)


@pytest.mark.parametrize(
    ("one", "other", "is_older"),
    [
        (RunOrder(NOW), RunOrder(LATER), True),
        (RunOrder(LATER), RunOrder(NOW), False),
        (RunOrder(NOW), RunOrder(NOW), False),
        # The run number decides, however late the legs arrive.
        (RunOrder(LATER, 7), RunOrder(NOW, 8), True),
        (RunOrder(NOW, 8), RunOrder(LATER, 7), False),
        # A retry of the same run.
        (RunOrder(NOW, 7), RunOrder(LATER, 7), True),
        # One of them has no number.
        (RunOrder(NOW, 8), RunOrder(LATER), True),
    ],
)
def test_runs_are_ordered_by_number_or_else_by_start(one: RunOrder, other: RunOrder, is_older: bool) -> None:
    assert one.is_older_than(other) is is_older


@given(orders, orders)
def test_of_two_runs_at_most_one_is_older(one: RunOrder, other: RunOrder) -> None:
    assert not (one.is_older_than(other) and other.is_older_than(one))
