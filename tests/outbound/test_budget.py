"""What a registry's refusals teach: fewer requests at once, slower, or none for a while."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from app import errors
from app.outbound.budget import Budget, Budgets, BudgetUpdate, Refusal
from app.outbound.failures import RequestContext
from app.registry.client import RegistryClient
from app.registry.limits import Limits
from tests.support.images import make_image, plant
from tests.support.registry import RegistryDouble, Status
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    Clock,
    reference_at,
)

HOST = "registry.example"
CONTEXT = RequestContext(HOST)
LIMITS = Limits(concurrency=16, patience_seconds=5.0)
TOO_MANY = Refusal(None, is_rate_limit=True)
OVERLOADED = Refusal(None, is_rate_limit=False)


class Learning:
    """A budget on a clock of the test's own, and the lessons that it taught others."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.clock = Clock()
        self.lessons: list[BudgetUpdate] = []
        self.budgets = Budgets(limits, self.clock)
        self.budgets.on_update = self.lessons.append

    @property
    def budget(self) -> Budget:
        return self.budgets.of(HOST)

    def hear(self, *refusals: Refusal | None) -> None:
        """Answers that came one after the other, an eighth of a second apart."""
        for refusal in refusals:
            self.clock.time += 0.125
            self.budget.record_response(refusal, self.clock.time)


# --- concurrency ---


@pytest.mark.parametrize("refusal", [TOO_MANY, OVERLOADED])
def test_a_refusal_halves_the_requests_at_once_and_never_to_none(refusal: Refusal) -> None:
    learning = Learning()
    seen = []
    for _ in range(6):
        learning.hear(refusal)
        seen.append(learning.budget.concurrency)
    assert seen == [8, 4, 2, 1, 1, 1]


def test_refusals_of_requests_that_were_under_way_together_count_once() -> None:
    learning = Learning()
    sent = learning.clock.time
    learning.clock.time += 1
    for _ in range(10):
        learning.budget.record_response(OVERLOADED, sent)
    assert learning.budget.concurrency == 8


def test_clean_windows_bring_all_of_it_back_one_by_one() -> None:
    learning = Learning()
    learning.hear(OVERLOADED)
    learning.hear(*[None] * 7)
    assert learning.budget.concurrency == 8
    learning.hear(None)
    assert learning.budget.concurrency == 9
    learning.hear(*[None] * 200)
    assert learning.budget.concurrency == LIMITS.concurrency


def test_a_refusal_now_and_then_makes_no_pause_and_is_nothing_to_tell_others() -> None:
    learning = Learning()
    for _ in range(50):
        learning.hear(TOO_MANY, *[None] * 5)
    assert learning.budget.concurrency >= 1
    assert (learning.budget.pause, learning.budget.rate, learning.lessons) == (0.0, None, [])


# --- pauses ---


def test_a_registry_that_says_how_long_is_left_alone_that_long() -> None:
    learning = Learning()
    learning.hear(Refusal(30.0, is_rate_limit=True))
    assert learning.budget.pause == 30.0
    assert learning.lessons == [BudgetUpdate(HOST, 30.0, 8)]
    learning.clock.time += 20
    assert learning.budget.pause == 10.0
    learning.clock.time += 20
    assert learning.budget.pause == 0.0


async def test_a_long_pause_is_not_waited_for_and_the_registry_not_asked() -> None:
    learning = Learning()
    learning.hear(Refusal(30.0, is_rate_limit=False))
    with pytest.raises(errors.RateLimited) as caught:
        async with learning.budgets.at(HOST).slot(CONTEXT):
            pytest.fail("the registry would have been asked")
    assert caught.value.retry_after == 30.0
    assert caught.value.members["registry"] == HOST


async def test_a_short_pause_is_waited_for() -> None:
    budget = Budgets(LIMITS).at(HOST)
    budget.record_response(Refusal(0.2, is_rate_limit=True), time.monotonic())
    until = time.monotonic() + budget.pause
    async with budget.slot(CONTEXT) as sent:
        assert sent >= until


def test_refusals_without_a_time_are_given_one_that_doubles_until_an_answer_comes() -> None:
    learning = Learning()
    learning.hear(*[TOO_MANY] * 3)
    assert learning.budget.pause == 0
    pauses = []
    for _ in range(8):
        learning.hear(TOO_MANY)
        pauses.append(round(learning.budget.pause))
        learning.clock.time += learning.budget.pause
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    learning.hear(None)
    learning.hear(TOO_MANY)
    assert round(learning.budget.pause) == 1


def test_a_registry_that_is_only_overloaded_gets_no_pause_that_it_did_not_ask_for() -> None:
    learning = Learning()
    learning.hear(*[OVERLOADED] * 20)
    assert (learning.budget.pause, learning.budget.rate) == (0.0, None)


# --- rate ---


def test_where_refusals_prevail_half_the_rate_that_went_well_is_kept_to() -> None:
    learning = Learning()
    learning.hear(*[None] * 100)
    learning.hear(*[TOO_MANY] * 4)
    assert learning.budget.rate == pytest.approx(4.0, rel=0.1)
    assert learning.lessons[-1].rate == learning.budget.rate
    learning.hear(*[None] * 1000)
    assert learning.budget.rate is None


async def test_requests_are_spread_by_the_rate_and_those_beyond_patience_turned_away() -> None:
    budgets = Budgets(replace(LIMITS, patience_seconds=0.5))
    budgets.apply_update(BudgetUpdate(HOST, 0.0, rate=10.0))
    began = time.monotonic()
    outcomes = await asyncio.gather(
        *(budgets.at(HOST).admit(CONTEXT) for _ in range(20)), return_exceptions=True
    )
    sent = [each for each in outcomes if isinstance(each, float)]
    assert 5 <= len(sent) < len(outcomes)
    assert max(sent) - began >= (len(sent) - 1) / 10
    assert all(isinstance(each, float | errors.RateLimited) for each in outcomes)


# --- what others learnt ---


def test_what_others_learnt_holds_here_too_but_makes_nothing_wider() -> None:
    learning = Learning()
    learning.budgets.apply_update(BudgetUpdate(HOST, 20.0, 4, 3.0))
    budget = learning.budget
    assert (budget.pause, budget.concurrency, budget.rate) == (20.0, 4, 3.0)
    learning.budgets.apply_update(BudgetUpdate(HOST, 1.0, 12, 9.0))
    assert (budget.pause, budget.concurrency, budget.rate) == (20.0, 4, 3.0)
    assert learning.lessons == []


def test_what_is_known_of_registries_without_lessons_is_not_kept_for_ever() -> None:
    learning = Learning()
    learning.hear(Refusal(30.0, is_rate_limit=True))
    learnt = learning.budget
    plain = learning.budgets.of("plain.example")
    for number in range(3000):
        learning.budgets.of(f"{number}.example")
    assert learning.budgets.of(HOST) is learnt
    assert learning.budgets.of("plain.example") is not plain


# --- at the wire ---


async def test_no_request_reaches_a_registry_that_asked_for_a_pause(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", make_image())
    limited = Status(429, headers={"Retry-After": "120"})
    registry.misbehave(limited, method="GET", path="/manifests/", times=None)
    async with RegistryClient(LOOPBACK, limits=QUICK) as client:
        for _ in range(5):
            with pytest.raises(errors.RateLimited) as caught:
                await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
            assert caught.value.retry_after is not None
            assert 100 < caught.value.retry_after <= 120
    assert len(registry.received("GET", "/manifests/")) == 1


async def test_a_pause_at_one_registry_is_none_at_another(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", make_image())
    registry.misbehave(
        Status(503, headers={"Retry-After": "120"}), method="GET", path="/manifests/", times=None
    )
    async with RegistryDouble() as other, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(other, "app", "1", make_image())
        with pytest.raises(errors.RegistryUnavailable):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
        await client.fetch_manifest(reference_at(other, "app:1"), INSECURE)


@pytest.mark.parametrize("refusal", [Status(429), Status.oci(403, "DENIED", "secondary rate limit")])
async def test_a_registry_that_limits_without_a_word_gets_a_pause_that_the_error_tells(
    registry: RegistryDouble, refusal: Status
) -> None:
    registry.misbehave(refusal, method="GET", path="/manifests/", times=None)
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, attempts=4)) as client:
        with pytest.raises(errors.RateLimited) as caught:
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> Budget:
    return Budgets(Limits(concurrency=16), clock).of("registry.example")


def test_a_short_pause_takes_nothing_from_a_long_one(budget: Budget, clock: Clock) -> None:
    """Requests that were under way together are refused with all sorts of times."""
    for asked in (60.0, 1.0):
        budget.record_response(Refusal(asked, is_rate_limit=True), clock.time)
    clock.pass_by(30)
    assert budget.pause == 30


def test_what_went_well_before_a_refusal_counts_for_nothing_after_it(budget: Budget, clock: Clock) -> None:
    for answer in (*[None] * 15, Refusal(None, is_rate_limit=False), *[None] * 7):
        clock.pass_by(0.125)
        budget.record_response(answer, clock.time)
    assert budget.concurrency == 8
    budget.record_response(None, clock.time)
    assert budget.concurrency == 9
