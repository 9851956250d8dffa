"""The semaphore that serves the largest waiting job first."""

from __future__ import annotations

import asyncio

import pytest

from app.concurrency.largest_first import LargestFirstSemaphore


async def run_job(semaphore: LargestFirstSemaphore, size: int, order: list[int]) -> None:
    async with semaphore.slot(size):
        order.append(size)
        await asyncio.sleep(0)


async def test_the_largest_waiter_goes_first() -> None:
    semaphore, order = LargestFirstSemaphore(1), list[int]()
    async with semaphore.slot(0):
        waiting = [asyncio.create_task(run_job(semaphore, size, order)) for size in (3, 9, 1, 7)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == [9, 7, 3, 1]


async def test_waiters_of_one_size_go_in_order_of_arrival() -> None:
    semaphore, order = LargestFirstSemaphore(1), list[int]()

    async def named(name: int) -> None:
        async with semaphore.slot(5):
            order.append(name)

    async with semaphore.slot(0):
        waiting = [asyncio.create_task(named(name)) for name in range(3)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]


async def test_the_slots_limit_the_number_of_running_jobs() -> None:
    semaphore, inside, most = LargestFirstSemaphore(3), 0, 0

    async def one(size: int) -> None:
        nonlocal inside, most
        async with semaphore.slot(size):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(one(size) for size in range(20)))
    assert (inside, most) == (0, 3)


async def test_a_cancelled_waiter_takes_no_slot() -> None:
    semaphore, order = LargestFirstSemaphore(1), list[int]()
    async with semaphore.slot(0):
        leaving = asyncio.create_task(run_job(semaphore, 9, order))
        staying = asyncio.create_task(run_job(semaphore, 1, order))
        await asyncio.sleep(0)
        leaving.cancel()
    await staying
    assert order == [1]
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_waiter_cancelled_as_it_gets_its_slot_passes_it_on() -> None:
    semaphore, order = LargestFirstSemaphore(1), list[int]()
    async with semaphore.slot(0):
        leaving = asyncio.create_task(run_job(semaphore, 9, order))
        staying = asyncio.create_task(run_job(semaphore, 1, order))
        await asyncio.sleep(0)
    leaving.cancel()
    await staying
    assert order == [1]


async def test_a_failure_releases_the_slot() -> None:
    semaphore = LargestFirstSemaphore(1)
    with pytest.raises(ValueError, match="inside"):
        async with semaphore.slot(1):
            raise ValueError("inside")
    async with asyncio.timeout(120), semaphore.slot(1):
        pass
