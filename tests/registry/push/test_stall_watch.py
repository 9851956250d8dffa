"""Stalled transfers and trickles end, and so does a wait for others that is too long."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from app import errors
from app.registry.client import Limits, RegistryClient
from app.registry.push.stall_watch import Activity, StallWatch
from tests.support.images import make_image, plant
from tests.support.pushes import LARGE
from tests.support.registry import (
    Drip,
    Hold,
    RegistryDouble,
    Silence,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    child_at,
    push_one,
    target_at,
)


@pytest.mark.slow
async def test_waiting_for_other_downloads_does_not_count_as_a_stall(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    image = make_image(layers=[500], seed="queue")
    plant(source, "src", "1", image)
    layer = next(digest for digest, data in image.blobs.items() if len(data) == 500)
    source.misbehave(Drip(0.01), method="GET", path=layer, times=None)
    limits = replace(QUICK, transfers=1, attempts=1, call_seconds=2.0, stall_seconds=2.0, stall_bytes=1)
    async with RegistryDouble() as other, RegistryClient(LOOPBACK, limits=limits) as client:
        async with asyncio.TaskGroup() as group:
            for double in (registry, other):
                goal, child = target_at(double, "dst", [image]), child_at(source, "src", image)
                group.create_task(push_one(client, goal, [child], INSECURE))
        assert other.blobs("dst") == registry.blobs("dst") == set(image.blobs)


async def test_a_large_blob_may_take_longer_to_end_than_a_small_one() -> None:
    limits = Limits()
    async with asyncio.timeout(None) as deadline:
        StallWatch(deadline, limits).end(100 * limits.commit_bytes)
        await asyncio.sleep(0)
        left = (deadline.when() or 0.0) - asyncio.get_running_loop().time()
    assert limits.call_seconds + 50 < left <= limits.call_seconds + 100


@pytest.mark.parametrize("side", ["source", "target"])
async def test_a_stalled_copy_ends(side: str) -> None:
    limits = replace(QUICK, stall_seconds=0.3, attempts=1)
    async with (
        RegistryDouble() as source,
        RegistryDouble() as double,
        RegistryClient(LOOPBACK, limits=limits) as client,
    ):
        plant(source, "src", "1", LARGE)
        if side == "source":
            source.misbehave(Drip(0.1), method="GET", path="/blobs/", times=None)
        else:
            double.misbehave(Silence(), method="PUT", path="/blobs/uploads/", times=None)
        with pytest.raises(errors.RegistryTimeout):
            await push_one(
                client, target_at(double, "dst", [LARGE]), [child_at(source, "src", LARGE)], INSECURE
            )


def remaining(deadline: asyncio.Timeout) -> float:
    when = deadline.when()
    assert when is not None
    return when - asyncio.get_running_loop().time()


async def test_enough_bytes_extend_the_deadline_and_fewer_do_not() -> None:
    limits = replace(QUICK, stall_seconds=30.0, stall_bytes=100)
    async with asyncio.timeout(None) as deadline:
        watch = StallWatch(deadline, limits)
        watch.start()
        first = deadline.when()
        watch.passed(99)
        assert deadline.when() == first

        await asyncio.sleep(0.001)
        watch.passed(1)
        assert first is not None
        assert (deadline.when() or 0) > first


async def test_time_in_which_no_bytes_are_expected_is_added() -> None:
    async with asyncio.timeout(None) as deadline:
        StallWatch(deadline, replace(QUICK, stall_seconds=30.0)).allow(60.0)
        await asyncio.sleep(0)

        assert remaining(deadline) == pytest.approx(90.0, abs=10.0)


async def test_waiting_for_a_slot_suspends_the_deadline() -> None:
    async with asyncio.timeout(None) as deadline:
        watch = StallWatch(deadline, replace(QUICK, stall_seconds=30.0))
        watch.allow(60.0)
        await asyncio.sleep(0)
        with watch.queueing():
            assert deadline.when() is None

        assert remaining(deadline) == pytest.approx(90.0, abs=10.0)


IMPATIENT = replace(QUICK, slot_seconds=0.1, call_seconds=0.1, stall_seconds=30.0)


async def test_a_wait_for_a_slot_ends_when_nothing_of_the_push_moves() -> None:
    watches: list[StallWatch] = []

    async def wait() -> None:
        async with asyncio.timeout(None) as deadline:
            watches.append(StallWatch(deadline, IMPATIENT))
            with watches[0].queueing():
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait()
    assert watches[0].waited_too_long


async def test_a_wait_for_a_slot_goes_on_while_another_transfer_of_the_push_moves() -> None:
    activity = Activity()
    async with asyncio.timeout(None) as deadline, asyncio.timeout(None) as other:
        watch = StallWatch(deadline, IMPATIENT, activity)
        sibling = StallWatch(other, replace(IMPATIENT, stall_seconds=0.6), activity)
        sibling.start()
        moved = asyncio.Event()
        # Later than the wait alone would end.
        asyncio.get_running_loop().call_later(0.4, moved.set)
        with watch.queueing():
            await moved.wait()
    assert not watch.waited_too_long


@pytest.mark.slow
@pytest.mark.parametrize("taken", ["download", "upload"])
async def test_a_blob_that_waits_too_long_for_a_slot_ends_the_attempt_without_counting_it(
    taken: str, source: RegistryDouble, registry: RegistryDouble
) -> None:
    slow, image = make_image(layers=[500], seed="slow"), make_image(layers=[500], seed="waits")
    plant(source, "slow", "1", slow)
    plant(source, "src", "1", image)
    limits = replace(
        QUICK, transfers=1, slot_seconds=0.2, call_seconds=0.3, stall_seconds=60.0, stall_bytes=1
    )
    busy = source if taken == "download" else registry
    if taken == "download":
        source.misbehave(Drip(0.2), method="GET", path="/slow/blobs/", times=None)
    else:
        registry.misbehave(Hold(), method="PUT", path="/slow/blobs/uploads/", times=None)
    method = "GET" if taken == "download" else "PUT"
    async with RegistryDouble() as other, RegistryClient(LOOPBACK, limits=limits) as client:
        first = target_at(registry, "slow", [slow])
        holder = asyncio.create_task(push_one(client, first, [child_at(source, "slow", slow)], INSECURE))
        await busy.until(lambda: bool(busy.received(method, "/slow/blobs/")))
        second = target_at(other if taken == "download" else registry, "dst", [image])
        with pytest.raises(errors.Unavailable):
            await push_one(client, second, [child_at(source, "src", image)], INSECURE)
        holder.cancel()
        with suppress(asyncio.CancelledError, errors.BrokerError):
            await holder
