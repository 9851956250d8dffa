"""Pushes through registries that fail at random: they succeed, nothing is wrong, and it costs what it may.

SOAK_PUSHES makes it longer, SOAK_SEED repeats a run; `scripts/soak` gives the figures of a long one.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from app.operations.retries import RetryPolicy
from app.registry.client import Limits
from tests.support.clients import QUICK
from tests.support.soak import Soak, soak

PUSHES = int(os.environ.get("SOAK_PUSHES", "60"))
# What is shortened are the waits; how often is tried is what the broker does.
LIMITS = replace(QUICK, attempts=Limits().attempts)
POLICY = RetryPolicy(base=0.01, cap=0.05, shortest_wait=0.01)


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(10**6))


@pytest.mark.parametrize(("rate", "share", "most"), [(0.2, 0.999, 2.5), (0.01, 0.9999, 1.3)])
async def test_pushes_succeed_whatever_fails_at_random(
    seed: int, rate: float, share: float, most: float, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Soak(PUSHES, rate, seed, LIMITS, POLICY)
    without, tally = await soak(replace(plan, rate=0.0)), await soak(plan)
    with capsys.disabled():
        print(f"\nseed {seed}, {PUSHES} pushes, {rate:.0%} faults: {tally}")  # noqa: T201
    assert without.succeeded == PUSHES
    assert tally.succeeded >= share * PUSHES, tally
    assert tally.wrong == without.wrong == 0
    assert tally.partial == without.partial == 0
    assert tally.requests <= most * without.requests


async def test_without_faults_nothing_is_tried_twice(seed: int) -> None:
    tally = await soak(Soak(PUSHES // 4, 0.0, seed, LIMITS, POLICY))
    assert tally.attempts == tally.succeeded == PUSHES // 4
