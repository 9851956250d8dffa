"""Budgets of the accounts of one registry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import pytest

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import digest_of
from app.outbound.account_budgets import Budgets
from app.outbound.adaptive import Refusal
from app.outbound.budget import BudgetUpdate
from app.outbound.failures import RequestContext
from app.registry.client import Access, Credential, RegistryClient
from app.registry.limits import Limits
from tests.support.images import make_image, plant
from tests.support.registry import Fault, Redirect, RegistryDouble, Reset, Status
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    Clock,
    reference_at,
    repository_at,
    signed_in,
)
from tests.support.registry_double.wire import Answer, Exchange

HOST = "registry.example"
CONTEXT = RequestContext(HOST)
LIMITS = Limits(concurrency=16, patience_seconds=0.5)
USED_UP = Refusal(30.0, is_rate_limit=True)
OVERLOADED = Refusal(30.0, is_rate_limit=False)
TOO_MANY = Refusal(None, is_rate_limit=True)
ANN, BOB = Credential("ann", "ann's password"), Credential("bob", "bob's password")


class Recorder:
    """Budgets on the test's clock, and the names of the budgets that published an update."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.published: set[str] = set()
        self.budgets = Budgets(LIMITS, self.clock)
        self.budgets.on_update = lambda update: self.published.add(update.budget)

    def respond(self, place: tuple[str | None, str], *refusals: Refusal | None) -> None:
        for refusal in refusals:
            self.clock.time += 0.125
            self.budgets.at(HOST, *place).record_response(refusal, self.clock.time)

    def pauses(self, *places: tuple[str | None, str]) -> list[float]:
        return [self.budgets.at(HOST, *place).pause for place in places]


# An account's name begins with its tenant's; "a" has two accounts.
ANN_X, ANN_Y, ANN_NO_AREA = ("a.ann", "x"), ("a.ann", "y"), ("a.ann", "")
AMY_X, AMY_Y = ("a.amy", "x"), ("a.amy", "y")
BOB_X, BOB_Y, BOB_Z = ("b.bob", "x"), ("b.bob", "y"), ("b.bob", "z")
PING = (None, "")
EVERYWHERE = (ANN_X, ANN_Y, AMY_X, AMY_Y, BOB_X, BOB_Y, PING)


# --- how far a refusal reaches ---


@pytest.mark.parametrize("refusal", [USED_UP, OVERLOADED, TOO_MANY])
def test_a_refusal_pauses_one_area_for_one_account(refusal: Refusal) -> None:
    recorder = Recorder()
    recorder.respond(ANN_X, *[refusal] * 20)
    paused = [place for place in EVERYWHERE if recorder.pauses(place) != [0.0]]
    assert paused == [ANN_X]
    assert recorder.budgets.of(HOST).is_default
    assert recorder.budgets.at(HOST, *BOB_X).pause == 0
    assert recorder.budgets.of(f"{HOST}#b.bob").is_default


@pytest.mark.parametrize("refusal", [USED_UP, OVERLOADED])
def test_a_refusal_in_two_areas_pauses_the_account(refusal: Refusal) -> None:
    recorder = Recorder()
    recorder.respond(ANN_X, refusal)
    recorder.respond(ANN_Y, refusal)
    places = [("a.ann", "z"), ANN_NO_AREA, AMY_X, AMY_Y, BOB_X, BOB_Z, PING]
    assert [pause > 29 for pause in recorder.pauses(*places)] == [True] * 2 + [False] * 5


def test_a_refusal_of_an_account_without_areas_pauses_the_account() -> None:
    recorder = Recorder()
    recorder.respond(ANN_NO_AREA, USED_UP)
    assert recorder.pauses(ANN_NO_AREA, ANN_X, AMY_X, BOB_X, PING) == [30.0, 30.0, 0.0, 0.0, 0.0]
    assert recorder.published == {f"{HOST}#a.ann"}


def test_two_areas_of_two_tenants_pause_the_host_as_long_as_both_asked_for() -> None:
    recorder = Recorder()
    recorder.respond(ANN_X, OVERLOADED)
    recorder.respond(BOB_Y, Refusal(10.0, is_rate_limit=False))
    assert recorder.pauses(PING, AMY_Y) == [10.0, 10.0]
    assert recorder.published >= {HOST}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((ANN_X, OVERLOADED), (BOB_X, OVERLOADED)),
        ((ANN_X, OVERLOADED), (AMY_Y, OVERLOADED)),
        ((ANN_X, USED_UP), (BOB_Y, USED_UP)),
        ((ANN_X, USED_UP), (BOB_Y, OVERLOADED)),
        ((ANN_X, Refusal(None, is_rate_limit=False)), (BOB_Y, OVERLOADED)),
    ],
    ids=["one area", "one tenant", "rate limits", "a rate limit", "one without a time"],
)
def test_less_than_two_areas_of_two_tenants_pauses_no_host(
    first: tuple[tuple[str, str], Refusal], second: tuple[tuple[str, str], Refusal]
) -> None:
    recorder = Recorder()
    for place, refusal in (first, second):
        recorder.respond(place, refusal)
    assert recorder.pauses(PING, ("c.carl", "z")) == [0.0, 0.0]


@pytest.mark.parametrize("seconds", [0.0, 91.0])
def test_a_refusal_bears_out_nothing_after_a_success_or_a_while(seconds: float) -> None:
    recorder = Recorder()
    recorder.respond(ANN_X, OVERLOADED)
    if not seconds:
        recorder.respond(ANN_X, None)
    recorder.clock.time += seconds
    recorder.respond(BOB_Y, OVERLOADED)
    assert recorder.pauses(PING) == [0.0]


def test_a_refusal_of_a_request_of_no_account_pauses_everything() -> None:
    recorder = Recorder()
    recorder.respond(PING, USED_UP)
    assert recorder.pauses(*EVERYWHERE) == [30.0] * len(EVERYWHERE)


def test_rate_limits_slow_the_account_before_they_pause_it() -> None:
    recorder = Recorder()
    recorder.respond(ANN_Y, *[None] * 100)
    recorder.respond(ANN_X, *[TOO_MANY] * 4)
    assert recorder.budgets.of(f"{HOST}#a.ann").rate == pytest.approx(4.0, rel=0.1)
    assert recorder.pauses(ANN_Y) == [0.0]


def test_the_memory_of_refusals_has_a_limit() -> None:
    recorder = Recorder()
    for number in range(3000):
        recorder.respond(("a.ann", f"area{number}"), Refusal(None, is_rate_limit=False))
    recorder.respond(BOB_Y, OVERLOADED)
    assert recorder.pauses(PING) == [0.0]


async def test_requests_of_one_account_that_wait_take_no_slot_of_another() -> None:
    budgets = Budgets(LIMITS)
    async with AsyncExitStack() as stack:
        for _ in range(LIMITS.concurrency):
            await stack.enter_async_context(budgets.at(HOST, *ANN_X).slot(CONTEXT))
        # Passes if nothing raises.
        async with asyncio.timeout(5):
            await _enter(budgets, "b.bob")


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


ASKS_FOR_A_PAUSE = Status(503, headers={"Retry-After": "120"})


async def test_a_token_service_that_is_down_for_one_tenant_pauses_no_other(client: RegistryClient) -> None:
    users = {"ann": ANN.password, "bob": BOB.password}
    async with RegistryDouble(auth="bearer", users=users) as double:
        for path in ("bad/app", "good/app"):
            plant(double, path, "1", make_image())
        rule = double.misbehave(ASKS_FOR_A_PAUSE, path="/token", times=None)
        ann, bob = signed_in(double.host, ANN, tenant="a"), signed_in(double.host, BOB, tenant="b")
        with pytest.raises(errors.BrokerError):
            await client.fetch_manifest(reference_at(double, "bad/app:1"), bob)
        rule.stop()
        await client.fetch_manifest(reference_at(double, "good/app:1"), ann)
        await client.fetch_manifest(reference_at(double, "good/app:1"), bob)
        assert {each.status for each in double.received("GET", "/good/app/manifests/")} == {200}


@pytest.mark.parametrize("fault", [ASKS_FOR_A_PAUSE, Status(429, headers={"Retry-After": "120"}), Reset()])
async def test_a_storage_that_fails_for_one_tenant_pauses_no_other(
    registry: RegistryDouble, client: RegistryClient, fault: Fault
) -> None:
    image = make_image()
    config = Descriptor("application/json", digest_of(image.config), len(image.config))
    async with RegistryDouble() as storage:
        for path in ("bad/app", "good/app"):
            plant(registry, path, "1", image)
            plant(storage, path, "1", image)
        registry.misbehave(Redirect(f"{storage.base_url}{{target}}"), path="/blobs/", times=None)
        storage.misbehave(fault, path="/bad/", times=None)
        ann, bob = replace(INSECURE, tenant="a"), replace(INSECURE, tenant="b")
        with pytest.raises(errors.BrokerError):
            await client.fetch_config(repository_at(registry, "bad/app"), config, bob)
        assert await client.fetch_config(repository_at(registry, "good/app"), config, ann) == image.config
        assert await client.fetch_config(repository_at(registry, "good/app"), config, bob) == image.config
