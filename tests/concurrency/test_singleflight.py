"""Work done once for all who want it at the same time."""

from __future__ import annotations

import asyncio

import pytest

from app.concurrency.singleflight import Once, SingleFlight
from app.registry.mounts import MountMemory, Standing
from tests.support.clients import Clock


class Work:
    """Counts its starts and ends when told."""

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


async def test_many_who_wait_share_one_result_and_later_ones_start_anew() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    waiting = [asyncio.create_task(flights.run("key", work)) for _ in range(5)]
    await asyncio.sleep(0)
    work.done.set()
    assert await asyncio.gather(*waiting) == [1] * 5
    assert await flights.run("key", work) == 2


async def test_the_work_goes_on_while_anyone_waits_and_ends_with_the_last() -> None:
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


async def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    flights: SingleFlight[str, int] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise LookupError

    results = await asyncio.gather(*(flights.run("key", fail) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3
    work = Work()
    work.done.set()
    assert await flights.run("key", work) == 1


async def test_keys_do_not_share() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    work.done.set()
    assert sorted(await asyncio.gather(flights.run("a", work), flights.run("b", work))) == [1, 2]


def test_what_is_known_of_mounts_fades_and_is_only_as_wide_as_what_was_said() -> None:
    clock = Clock()
    memory = MountMemory(60, clock)
    memory.note(Standing.REFUSES, "reg", "src", "dst", only_these=True)
    assert memory.of("reg", "src", "dst") is Standing.REFUSES
    assert memory.of("reg", "other", "dst") is Standing.MOUNTS
    memory.note(Standing.DECLINES, "reg", "a", "b")
    assert memory.of("reg", "other", "dst") is Standing.DECLINES
    assert memory.of("elsewhere", "a", "b") is Standing.MOUNTS
    clock.pass_by(61)
    assert memory.of("reg", "src", "dst") is Standing.MOUNTS
    memory.note(Standing.DECLINES, "reg", "a", "b")
    memory.note(Standing.MOUNTS, "reg", "c", "d")
    assert memory.of("reg", "a", "b") is Standing.MOUNTS


async def test_who_comes_when_the_work_has_just_ended_starts_anew() -> None:
    """Its result may be the very token that a registry refuses by then."""
    flights: SingleFlight[str, str] = SingleFlight()
    ending = asyncio.Event()

    async def first() -> str:
        # Who waits for this goes on before those that wait for the end.
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


async def test_what_is_done_once_is_not_done_again_for_who_comes_as_it_ends() -> None:
    once: Once[str, int] = Once()
    ending = asyncio.Event()
    begun = 0

    async def work() -> int:
        nonlocal begun
        begun += 1
        ending.set()
        return begun

    async def come_late() -> int:
        await ending.wait()
        return await once.run("key", work)

    late = asyncio.create_task(come_late())
    await asyncio.sleep(0)
    assert [await once.run("key", work), await late, await once.run("key", work)] == [1, 1, 1]
