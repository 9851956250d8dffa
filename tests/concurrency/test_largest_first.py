"""Turns: a few at a time, and of those who wait the largest first."""

from __future__ import annotations

import asyncio

import pytest

from app.concurrency.largest_first import Turns


async def take(turns: Turns, size: int, order: list[int]) -> None:
    async with turns.turn(size):
        order.append(size)
        await asyncio.sleep(0)


async def test_the_largest_goes_first() -> None:
    turns, order = Turns(1), list[int]()
    async with turns.turn(0):
        waiting = [asyncio.create_task(take(turns, size, order)) for size in (3, 9, 1, 7)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == [9, 7, 3, 1]


async def test_of_two_of_one_size_the_first_to_come_goes_first() -> None:
    turns, order = Turns(1), list[int]()

    async def named(name: int) -> None:
        async with turns.turn(5):
            order.append(name)

    async with turns.turn(0):
        waiting = [asyncio.create_task(named(name)) for name in range(3)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]


async def test_so_many_at_a_time_and_no_more() -> None:
    turns, inside, most = Turns(3), 0, 0

    async def one(size: int) -> None:
        nonlocal inside, most
        async with turns.turn(size):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(one(size) for size in range(20)))
    assert (inside, most) == (0, 3)


async def test_who_gives_up_takes_no_turn_along() -> None:
    turns, order = Turns(1), list[int]()
    async with turns.turn(0):
        leaving = asyncio.create_task(take(turns, 9, order))
        staying = asyncio.create_task(take(turns, 1, order))
        await asyncio.sleep(0)
        leaving.cancel()
    await staying
    assert order == [1]
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_who_gives_up_just_as_it_is_its_turn_passes_it_on() -> None:
    turns, order = Turns(1), list[int]()
    async with turns.turn(0):
        leaving = asyncio.create_task(take(turns, 9, order))
        staying = asyncio.create_task(take(turns, 1, order))
        await asyncio.sleep(0)
    leaving.cancel()
    await staying
    assert order == [1]


async def test_a_failure_inside_ends_the_turn() -> None:
    turns = Turns(1)
    with pytest.raises(ValueError, match="inside"):
        async with turns.turn(1):
            raise ValueError("inside")
    async with asyncio.timeout(5), turns.turn(1):
        pass
