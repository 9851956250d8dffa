"""Pushes through registries that fail at random succeed at a bounded cost.

SOAK_PUSHES makes it longer; `scripts/soak` gives the figures of a long one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import pytest

from app.operations.retries import RetryPolicy
from app.registry.client import Limits
from app.store.migrate import upgrade
from app.wiring import PROMPT
from scripts.soak_lib.broker_soak import soak_broker
from scripts.soak_lib.client_soak import Soak, Tally, soak
from tests.support.registry_clients import QUICK

PUSHES = int(os.environ.get("SOAK_PUSHES", "60"))
# What is shortened are the waits; how often is tried is what the broker does.
LIMITS = replace(QUICK, attempts=Limits().attempts)
POLICY = replace(RetryPolicy(), base=0.01, cap=0.05, shortest_wait=0.01)
PROMPT_POLICY = replace(PROMPT, base=0.01, cap=0.05, shortest_wait=0.01)


@dataclass(frozen=True, slots=True)
class Bar:
    """At this rate of faults so large a share succeeds, at most for so many times the requests."""

    rate: float
    share: float
    most: float

    def __str__(self) -> str:
        return f"{self.rate:.0%}"

    def check(self, plan: Soak, without: Tally, tally: Tally) -> None:
        assert without.succeeded == plan.pushes
        assert tally.succeeded >= self.share * plan.pushes, tally
        assert tally.wrong == without.wrong == 0
        assert tally.partial == without.partial == 0
        assert tally.requests <= self.most * without.requests


BARS = pytest.mark.parametrize("bar", [Bar(0.2, 0.999, 2.5), Bar(0.01, 0.9999, 1.3)], ids=str)


@BARS
async def test_pushes_of_the_client_succeed_despite_random_faults(
    bar: Bar, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(PUSHES, bar.rate, seed)
    without, tally = await soak(replace(plan, rate=0.0)), await soak(plan)
    with capsys.disabled():
        print(f"\nseed {seed}, {PUSHES} pushes, {bar} faults: {tally}")  # noqa: T201
    bar.check(plan, without, tally)


@BARS
async def test_pushes_of_the_broker_succeed_despite_random_faults(
    bar: Bar, seed: int, database_url: str, empty_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first creation to the last push, with what operations do to wait and to try again."""
    plan = plan_of(PUSHES * 2 // 3, bar.rate, seed)
    await upgrade(empty_database_url)
    without = await soak_broker(replace(plan, rate=0.0), empty_database_url)
    tally = await soak_broker(plan, database_url)
    with capsys.disabled():
        print(f"\nseed {seed}, {plan.pushes} pushes through a broker, {bar} faults: {tally}")  # noqa: T201
    bar.check(plan, without, tally)


async def test_nothing_is_retried_without_faults(seed: int) -> None:
    tally = await soak(plan_of(PUSHES // 4, 0.0, seed))
    assert tally.attempts == tally.succeeded == PUSHES // 4


def plan_of(pushes: int, rate: float, seed: int) -> Soak:
    return Soak(pushes, rate, seed, LIMITS, POLICY, PROMPT_POLICY)
