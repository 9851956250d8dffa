"""Refusals of all kinds of requests, and what is made of several of them."""

from __future__ import annotations

import pytest

from app import errors
from app.outbound.budget import Budget, Budgets, Refusal
from app.registry.client import RegistryClient
from app.registry.limits import Limits
from tests.support.images import make_image, plant
from tests.support.registry import RegistryDouble, Status
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    Clock,
    child_at,
    push_one,
    reference_at,
    target_at,
)

IMAGE = make_image(layers=[5000], seed="refused")


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


@pytest.mark.parametrize(("method", "path"), [("PUT", "/blobs/uploads/"), ("GET", "/blobs/")])
async def test_a_pause_that_a_blob_was_refused_for_holds_for_all_requests(
    registry: RegistryDouble, method: str, path: str
) -> None:
    """Bytes are moved by requests of their own kind, of which registries think no better."""
    async with RegistryDouble() as other, RegistryClient(LOOPBACK, limits=QUICK) as client:
        source, target = (other, registry) if method == "PUT" else (registry, other)
        plant(source, "src", "1", IMAGE)
        limited = Status(429, headers={"Retry-After": "120"})
        registry.misbehave(limited, method=method, path=path, times=None)
        with pytest.raises(errors.RateLimited):
            await push_one(
                client, target_at(target, "dst", [IMAGE]), [child_at(source, "src", IMAGE)], INSECURE
            )
        registry.forget()
        with pytest.raises(errors.RateLimited):
            await client.fetch_manifest(reference_at(registry, "other:1"), INSECURE)
    assert not registry.journal
