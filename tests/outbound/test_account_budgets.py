"""Budgets of the accounts of one registry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from app import errors
from app.outbound.adaptive import Refusal
from app.outbound.budget import Budgets, BudgetUpdate
from app.outbound.failures import RequestContext
from app.registry.client import Access, Credential, RegistryClient
from app.registry.limits import Limits
from tests.support.images import make_image, plant
from tests.support.registry import Fault, RegistryDouble, Status
from tests.support.registry_clients import INSECURE, LOOPBACK, QUICK, Clock, reference_at, signed_in
from tests.support.registry_double.wire import Answer, Exchange

HOST = "registry.example"
CONTEXT = RequestContext(HOST)
LIMITS = Limits(concurrency=16, patience_seconds=0.5)
USED_UP = Refusal(30.0, is_rate_limit=True)
OVERLOADED = Refusal(30.0, is_rate_limit=False)
ANN, BOB = Credential("ann", "ann's password"), Credential("bob", "bob's password")


class Recorder:
    """Budgets on the test's clock, and the names of the budgets that published an update."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.published: set[str] = set()
        self.budgets = Budgets(LIMITS, self.clock)
        self.budgets.on_update = lambda update: self.published.add(update.budget)

    def respond(self, account: str | None, *refusals: Refusal | None) -> None:
        for refusal in refusals:
            self.clock.time += 0.125
            self.budgets.at(HOST, account).record_response(refusal, self.clock.time)

    def pauses(self, *accounts: str | None) -> list[float]:
        return [self.budgets.at(HOST, account).pause for account in accounts]


def test_the_rate_limit_of_one_account_pauses_no_other_account() -> None:
    recorder = Recorder()
    recorder.respond("ann", *[USED_UP] * 20)
    assert recorder.pauses("ann", "bob", None) == [30.0, 0.0, 0.0]
    assert recorder.budgets.of(HOST).concurrency == LIMITS.concurrency
    assert recorder.published == {f"{HOST}#ann"}


def test_an_overloaded_registry_pauses_every_account() -> None:
    recorder = Recorder()
    recorder.respond("ann", OVERLOADED)
    assert recorder.pauses("ann", "bob", None) == [30.0] * 3
    assert recorder.budgets.of(HOST).concurrency == 8
    assert recorder.published == {HOST}


def test_a_rate_limit_of_an_anonymous_request_pauses_every_account() -> None:
    recorder = Recorder()
    recorder.respond(None, USED_UP)
    assert recorder.pauses("ann", "bob", None) == [30.0] * 3


def test_successes_of_one_account_restore_the_concurrency_of_the_registry() -> None:
    recorder = Recorder()
    recorder.respond("ann", OVERLOADED)
    recorder.respond("bob", *[None] * 200)
    assert recorder.budgets.of(HOST).concurrency == LIMITS.concurrency


async def test_requests_keep_to_the_budgets_of_the_account_and_of_the_registry() -> None:
    budgets = Budgets(LIMITS)
    budgets.apply_update(BudgetUpdate(f"{HOST}#ann", 0.0, rate=10.0))
    budgets.apply_update(BudgetUpdate(HOST, 0.2))
    began = time.monotonic()
    first, second = [await budgets.at(HOST, "ann").admit(CONTEXT) for _ in range(2)]
    assert first - began >= 0.2
    assert second - first >= 0.05
    budgets.apply_update(BudgetUpdate(f"{HOST}#ann", 30.0))
    with pytest.raises(errors.RateLimited, match="was not sent"):
        await budgets.at(HOST, "ann").admit(CONTEXT)
    await budgets.at(HOST, "bob").admit(CONTEXT)


async def test_a_pause_that_begins_during_another_wait_is_waited_out_too() -> None:
    budgets = Budgets(LIMITS)
    budgets.apply_update(BudgetUpdate(HOST, 0.1))
    admitted = asyncio.create_task(budgets.at(HOST, "ann").admit(CONTEXT))
    await asyncio.sleep(0)
    budgets.apply_update(BudgetUpdate(f"{HOST}#ann", 0.4))
    until = time.monotonic() + budgets.of(f"{HOST}#ann").pause
    assert await admitted >= until


async def test_a_slot_of_both_budgets_is_taken_and_given_back() -> None:
    budgets = Budgets(LIMITS)
    budgets.apply_update(BudgetUpdate(f"{HOST}#ann", 0.0, 1))
    async with budgets.at(HOST, "ann").slot(CONTEXT):
        second = asyncio.create_task(_enter(budgets, "ann"))
        await _enter(budgets, "bob")
        assert not second.done()
    await second
    assert budgets.of(HOST).is_default


async def _enter(budgets: Budgets, account: str) -> None:
    async with budgets.at(HOST, account).slot(CONTEXT):
        await asyncio.sleep(0)


# --- at the wire ---


@dataclass(frozen=True, slots=True)
class Quota(Fault):
    """One user has reached the rate limit."""

    credential: Credential

    async def instead(self, exchange: Exchange) -> Answer | None:
        if exchange.request.headers.get("Authorization") != self.credential.basic:
            return None
        return Answer(429, {"Retry-After": "120"}, b"")


@pytest.fixture
async def guarded() -> AsyncIterator[RegistryDouble]:
    users = {"ann": ANN.password, "bob": BOB.password}
    async with RegistryDouble(auth="basic", users=users, anonymous_pull=True) as double:
        plant(double, "app", "1", make_image())
        yield double


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, patience_seconds=0.1)) as client:
        yield client


async def test_only_the_rate_limited_account_sends_no_requests(
    guarded: RegistryDouble, client: RegistryClient
) -> None:
    guarded.misbehave(Quota(ANN), path="/manifests/", times=None)
    ann = signed_in(guarded.host, ANN, tenant="a")
    for _ in range(3):
        await _is_limited(client, guarded, ann)
    others = [
        signed_in(guarded.host, BOB, tenant="a"),
        signed_in(guarded.host, BOB, tenant="b"),
        replace(INSECURE, tenant="a"),
    ]
    for access in others:
        await client.fetch_manifest(reference_at(guarded, "app:1"), access)
    assert len(guarded.received("GET", "/manifests/")) == 1 + len(others)


async def test_a_wrong_password_for_a_user_name_pauses_nothing_for_the_user(
    guarded: RegistryDouble, client: RegistryClient
) -> None:
    guessed = Credential("ann", "guessed")
    guarded.misbehave(Quota(guessed), path="/manifests/", times=None)
    await _is_limited(client, guarded, signed_in(guarded.host, guessed, tenant="b"))
    ann = signed_in(guarded.host, ANN, tenant="a")
    fetched = await client.fetch_manifest(reference_at(guarded, "app:1"), ann)
    assert fetched.raw.raw == make_image().raw


async def test_a_token_service_limits_the_account_that_it_is_asked_for() -> None:
    users = {"ann": ANN.password, "bob": BOB.password}
    async with (
        RegistryDouble(auth="bearer", users=users) as double,
        RegistryClient(LOOPBACK, limits=replace(QUICK, patience_seconds=0.1)) as client,
    ):
        plant(double, "app", "1", make_image())
        double.misbehave(Quota(ANN), path="/token", times=None)
        for _ in range(3):
            await _is_limited(client, double, signed_in(double.host, ANN))
        await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, BOB))
        assert len(double.received("GET", "/token")) == 2


async def test_a_registry_that_rate_limits_its_ping_gets_no_request_of_any_account(
    guarded: RegistryDouble, client: RegistryClient
) -> None:
    guarded.misbehave(Status(429, headers={"Retry-After": "120"}), path="/v2/", times=None)
    for number in range(3):
        await _is_limited(client, guarded, signed_in(guarded.host, ANN, tenant=str(number)))
    assert len(guarded.received()) == 1


async def _is_limited(client: RegistryClient, registry: RegistryDouble, access: Access) -> None:
    with pytest.raises(errors.RateLimited) as caught:
        await client.fetch_manifest(reference_at(registry, "app:1"), access)
    assert caught.value.retry_after is not None
    assert 100 < caught.value.retry_after <= 120
