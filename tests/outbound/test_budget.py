"""How budgets adapt to refusals: fewer concurrent requests, a lower rate, or a pause."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors
from app.outbound.account_budgets import Budgets
from app.outbound.adaptive import Refusal
from app.outbound.budget import Budget, BudgetUpdate
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


class Recorder:
    """A budget on the test's clock, and the updates that it published."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.clock = Clock()
        self.updates: list[BudgetUpdate] = []
        self.budgets = Budgets(limits, self.clock)
        self.budgets.on_update = self.updates.append

    @property
    def budget(self) -> Budget:
        return self.budgets.of(HOST)

    def respond(self, *refusals: Refusal | None) -> None:
        """Responses an eighth of a second apart."""
        for refusal in refusals:
            self.clock.time += 0.125
            self.budget.record_response(refusal, self.clock.time)


# --- concurrency ---


@pytest.mark.parametrize("refusal", [TOO_MANY, OVERLOADED])
def test_a_refusal_halves_the_concurrency_but_never_to_zero(refusal: Refusal) -> None:
    recorder = Recorder()
    seen = []
    for _ in range(6):
        recorder.respond(refusal)
        seen.append(recorder.budget.concurrency)
    assert seen == [8, 4, 2, 1, 1, 1]


@pytest.mark.parametrize("refusal", [TOO_MANY, OVERLOADED])
@pytest.mark.parametrize("of", [8, 10, 16, 25])
def test_refusals_by_chance_leave_most_of_the_concurrency(refusal: Refusal, of: int) -> None:
    """One refusal among so many responses, again and again."""
    recorder = Recorder()
    for _ in range(60):
        recorder.respond(*[None] * (of - 1), refusal)
    assert recorder.budget.concurrency >= LIMITS.concurrency // 2
    assert (recorder.budget.pause, recorder.budget.rate) == (0.0, None)


@pytest.mark.parametrize(("bearable", "share"), [(1, 0.4), (2, 0.3), (5, 0.3), (8, 0.25), (12, 0.25)])
def test_a_registry_that_is_asked_too_much_at_once_gets_what_it_can_bear(bearable: int, share: float) -> None:
    """It refuses all that exceeds what it can bear."""
    recorder = Recorder()
    budget = recorder.budget
    sizes, refused = [], 0
    for _ in range(200):
        sent, size = recorder.clock.time, budget.concurrency
        sizes.append(size)
        recorder.clock.time += 0.125
        for number in range(size):
            budget.record_response(None if number < bearable else OVERLOADED, sent)
        refused += max(0, size - bearable)
    assert max(sizes[20:]) <= 1.3 * bearable + 1
    assert refused <= share * sum(sizes)


@given(seed=st.integers(0, 1000))
def test_a_registry_that_fails_at_random_keeps_several_requests_at_once(seed: int) -> None:
    """At a fault in two, a sixth of the responses are refusals, and no window is without any."""
    dice, recorder, sizes = random.Random(seed), Recorder(), []
    for _ in range(500):
        recorder.respond(OVERLOADED if dice.random() < 0.15 else None)
        sizes.append(recorder.budget.concurrency)
    assert sum(sizes) / len(sizes) >= LIMITS.concurrency / 8


@pytest.mark.parametrize("pattern", [(None, TOO_MANY), (None, None, TOO_MANY, TOO_MANY)])
def test_a_registry_that_refuses_half_gets_ever_less(pattern: tuple[Refusal | None, ...]) -> None:
    recorder = Recorder()
    recorder.respond(*[None] * 100, *pattern * 20)
    assert recorder.budget.concurrency == 1
    assert recorder.budget.rate is not None
    assert recorder.budget.rate < 4


def test_refusals_of_concurrent_requests_count_once() -> None:
    recorder = Recorder()
    sent = recorder.clock.time
    recorder.clock.time += 1
    for _ in range(10):
        recorder.budget.record_response(OVERLOADED, sent)
    assert recorder.budget.concurrency == 8


def test_successes_restore_one_slot_after_another() -> None:
    recorder = Recorder()
    recorder.respond(OVERLOADED)
    recorder.respond(*[None] * 15)
    assert recorder.budget.concurrency == 8
    recorder.respond(None)
    assert recorder.budget.concurrency == 9
    recorder.respond(*[None] * 200)
    assert recorder.budget.concurrency == LIMITS.concurrency


def test_rare_refusals_cause_no_pause_and_no_update() -> None:
    recorder = Recorder()
    for _ in range(50):
        recorder.respond(TOO_MANY, *[None] * 5)
    assert recorder.budget.concurrency >= 1
    assert (recorder.budget.pause, recorder.budget.rate, recorder.updates) == (0.0, None, [])


# --- pauses ---


def test_a_retry_after_pauses_the_budget_for_that_long() -> None:
    recorder = Recorder()
    recorder.respond(Refusal(30.0, is_rate_limit=True))
    assert recorder.budget.pause == 30.0
    assert recorder.updates == [BudgetUpdate(HOST, 30.0, 8)]
    recorder.clock.time += 20
    assert recorder.budget.pause == 10.0
    recorder.clock.time += 20
    assert recorder.budget.pause == 0.0


async def test_a_request_fails_unsent_during_a_long_pause() -> None:
    recorder = Recorder()
    recorder.respond(Refusal(30.0, is_rate_limit=False))
    with pytest.raises(errors.RateLimited) as caught:
        async with recorder.budgets.at(HOST).slot(CONTEXT):
            pytest.fail("the registry would have been asked")
    assert caught.value.retry_after == 30.0
    assert caught.value.members["registry"] == HOST


async def test_a_short_pause_is_waited_out() -> None:
    budget = Budgets(LIMITS).at(HOST)
    budget.record_response(Refusal(0.2, is_rate_limit=True), time.monotonic())
    until = time.monotonic() + budget.pause
    async with budget.slot(CONTEXT) as sent:
        assert sent >= until


def test_refusals_without_a_time_cause_pauses_that_double_until_a_success() -> None:
    recorder = Recorder()
    recorder.respond(*[TOO_MANY] * 3)
    assert recorder.budget.pause == 0
    pauses = []
    for _ in range(8):
        recorder.respond(TOO_MANY)
        pauses.append(round(recorder.budget.pause))
        recorder.clock.time += recorder.budget.pause
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    recorder.respond(None)
    recorder.respond(TOO_MANY)
    assert round(recorder.budget.pause) == 1


def test_an_overloaded_registry_is_not_paused_unless_it_asks() -> None:
    recorder = Recorder()
    recorder.respond(*[OVERLOADED] * 20)
    assert (recorder.budget.pause, recorder.budget.rate) == (0.0, None)


# --- rate ---


def test_prevailing_refusals_halve_the_measured_rate() -> None:
    recorder = Recorder()
    recorder.respond(*[None] * 100)
    recorder.respond(*[TOO_MANY] * 4)
    assert recorder.budget.rate == pytest.approx(4.0, rel=0.1)
    assert recorder.updates[-1].rate == recorder.budget.rate
    recorder.respond(*[None] * 1000)
    assert recorder.budget.rate is None


async def test_a_rate_spreads_requests_and_fails_those_that_would_wait_too_long() -> None:
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


# --- updates of other processes ---


def test_an_update_tightens_a_budget_and_never_widens_it() -> None:
    recorder = Recorder()
    recorder.budgets.apply_update(BudgetUpdate(HOST, 20.0, 4, 3.0))
    budget = recorder.budget
    assert (budget.pause, budget.concurrency, budget.rate) == (20.0, 4, 3.0)
    recorder.budgets.apply_update(BudgetUpdate(HOST, 1.0, 12, 9.0))
    assert (budget.pause, budget.concurrency, budget.rate) == (20.0, 4, 3.0)
    assert recorder.updates == []


def test_unchanged_budgets_are_forgotten() -> None:
    recorder = Recorder()
    recorder.respond(Refusal(30.0, is_rate_limit=True))
    learnt = recorder.budget
    plain = recorder.budgets.of("plain.example")
    for number in range(3000):
        recorder.budgets.of(f"{number}.example")
    assert recorder.budgets.of(HOST) is learnt
    assert recorder.budgets.of("plain.example") is not plain


# --- at the wire ---


async def test_no_request_reaches_a_paused_registry(registry: RegistryDouble) -> None:
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


@pytest.mark.parametrize(("status", "requests"), [(429, 1), (503, 3)])
async def test_a_rate_limit_that_names_its_renewal_is_a_pause_until_then(
    registry: RegistryDouble, status: int, requests: int
) -> None:
    plant(registry, "app", "1", make_image())
    renewal = {"RateLimit-Remaining": "0", "RateLimit-Reset": "120"}
    registry.misbehave(Status(status, headers=renewal), method="GET", path="/manifests/", times=None)
    async with RegistryClient(LOOPBACK, limits=QUICK) as client:
        with pytest.raises(errors.RegistryError) as caught:
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert (100 < (caught.value.retry_after or 0) <= 120) is (status == 429)
    assert len(registry.received("GET", "/manifests/")) == requests


async def test_a_pause_of_one_registry_is_not_a_pause_of_another(registry: RegistryDouble) -> None:
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
async def test_the_error_names_the_pause_of_a_registry_that_names_none(
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
