"""One run of a function shared by concurrent callers, and values computed once."""

from __future__ import annotations

import asyncio

import pytest

from app.concurrency.singleflight import AsyncCache, SingleFlight


class Work:
    """Counts its starts and ends when the test sets `done`."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.done = asyncio.Event()

    async def __call__(self) -> int:
        self.started += 1
        number = self.started
        try:
            await self.done.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return number


async def test_concurrent_callers_share_one_result_and_a_later_caller_starts_again() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    waiting = [asyncio.create_task(flights.run("key", work)) for _ in range(5)]
    await asyncio.sleep(0)
    work.done.set()
    assert await asyncio.gather(*waiting) == [1] * 5
    assert await flights.run("key", work) == 2


async def test_the_work_goes_on_until_its_last_caller_is_cancelled() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    waiting = [asyncio.create_task(flights.run("key", work)) for _ in range(3)]
    await asyncio.sleep(0)
    for number, task in enumerate(waiting):
        assert work.cancelled == 0, number
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (work.started, work.cancelled) == (1, 1)


async def test_a_failure_reaches_every_caller_and_is_not_kept() -> None:
    flights: SingleFlight[str, int] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise LookupError

    results = await asyncio.gather(*(flights.run("key", fail) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3
    work = Work()
    work.done.set()
    assert await flights.run("key", work) == 1


async def test_different_keys_share_nothing() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    work.done.set()
    assert sorted(await asyncio.gather(flights.run("a", work), flights.run("b", work))) == [1, 2]


async def test_a_caller_that_arrives_just_after_the_end_starts_again() -> None:
    """The finished result may be a token that the registry has refused since."""
    flights: SingleFlight[str, str] = SingleFlight()
    ending = asyncio.Event()

    async def first() -> str:
        # Its waiter resumes before the callers that await the result.
        ending.set()
        return "first"

    async def second() -> str:
        return "second"

    async def come_late() -> str:
        await ending.wait()
        return await flights.run("key", second)

    late = asyncio.create_task(come_late())
    await asyncio.sleep(0)
    assert await flights.run("key", first) == "first"
    assert await late == "second"


async def test_a_value_is_not_computed_again_for_a_caller_that_arrives_as_it_is_stored() -> None:
    cache: AsyncCache[str, int] = AsyncCache()
    ending = asyncio.Event()
    begun = 0

    async def work() -> int:
        nonlocal begun
        begun += 1
        ending.set()
        return begun

    async def come_late() -> int:
        await ending.wait()
        return await cache.get("key", work)

    late = asyncio.create_task(come_late())
    await asyncio.sleep(0)
    assert [await cache.get("key", work), await late, await cache.get("key", work)] == [1, 1, 1]
