"""Accounts of one registry: what one has used up is nothing to the others, but what the registry bears is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from app import errors
from app.outbound.budget import Budgets, BudgetUpdate, Refusal
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


class Learning:
    """Budgets on a clock of the test's own, and the names of those that taught others something."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: set[str] = set()
        self.budgets = Budgets(LIMITS, self.clock)
        self.budgets.on_update = lambda lesson: self.told.add(lesson.budget)

    def hear(self, account: str | None, *refusals: Refusal | None) -> None:
        for refusal in refusals:
            self.clock.time += 0.125
            self.budgets.at(HOST, account).record_response(refusal, self.clock.time)

    def pauses(self, *accounts: str | None) -> list[float]:
        return [self.budgets.at(HOST, account).pause for account in accounts]


def test_what_one_account_has_used_up_is_nothing_to_the_others() -> None:
    learning = Learning()
    learning.hear("ann", *[USED_UP] * 20)
    assert learning.pauses("ann", "bob", None) == [30.0, 0.0, 0.0]
    assert learning.budgets.of(HOST).concurrency == LIMITS.concurrency
    assert learning.told == {f"{HOST}#ann"}


def test_that_a_registry_is_overloaded_holds_for_all_accounts() -> None:
    learning = Learning()
    learning.hear("ann", OVERLOADED)
    assert learning.pauses("ann", "bob", None) == [30.0] * 3
    assert learning.budgets.of(HOST).concurrency == 8
    assert learning.told == {HOST}


def test_a_limit_that_is_met_in_nobodys_name_holds_for_all() -> None:
    learning = Learning()
    learning.hear(None, USED_UP)
    assert learning.pauses("ann", "bob", None) == [30.0] * 3


def test_good_answers_to_one_account_bring_back_what_the_registry_bears_of_all() -> None:
    learning = Learning()
    learning.hear("ann", OVERLOADED)
    learning.hear("bob", *[None] * 200)
    assert learning.budgets.of(HOST).concurrency == LIMITS.concurrency


async def test_requests_keep_to_what_the_account_may_and_to_what_the_registry_bears() -> None:
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


async def test_what_closes_while_another_wait_goes_on_is_waited_for_too() -> None:
    budgets = Budgets(LIMITS)
    budgets.apply_update(BudgetUpdate(HOST, 0.1))
    admitted = asyncio.create_task(budgets.at(HOST, "ann").admit(CONTEXT))
    await asyncio.sleep(0)
    budgets.apply_update(BudgetUpdate(f"{HOST}#ann", 0.4))
    until = time.monotonic() + budgets.of(f"{HOST}#ann").pause
    assert await admitted >= until


async def test_a_place_among_the_requests_at_once_is_taken_of_both_and_given_back() -> None:
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
    """One user has used up what he may."""

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


async def test_only_the_account_that_has_used_up_what_it_may_is_kept_from_asking(
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


async def test_who_knows_a_users_name_closes_nothing_to_the_user(
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


async def test_a_registry_that_will_not_even_say_what_it_is_gets_no_request_of_anybody(
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
