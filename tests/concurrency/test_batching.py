"""Work on one thing is done for all together who come while it is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from app.concurrency.batching import Gatherer


class Worker:
    """Does rounds when it is let, and keeps what each was for; `bad` items have an outcome of their own."""

    def __init__(self, *bad: str, failure: Exception | None = None) -> None:
        self.rounds: list[tuple[str, list[str]]] = []
        self.done: list[str] = []
        self.begun = asyncio.Semaphore(0)
        self.may_go = asyncio.Event()
        self._bad = bad
        self._failure = failure
        self.gatherer = Gatherer(self._perform)

    async def _perform(self, key: str, items: Sequence[str]) -> Sequence[Exception | None]:
        self.rounds.append((key, list(items)))
        self.begun.release()
        await self.may_go.wait()
        if self._failure is not None:
            raise self._failure
        self.done += items
        return [ValueError(item) if item in self._bad else None for item in items]

    async def start(self, key: str, item: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self.gatherer.run(key, item))
        await asyncio.sleep(0)
        return task


async def test_what_comes_during_a_round_goes_together_in_the_next() -> None:
    worker = Worker()
    tasks = [await worker.start("list", item) for item in "abc"]
    await worker.begun.acquire()
    worker.may_go.set()
    await asyncio.gather(*tasks)
    assert worker.rounds == [("list", ["a"]), ("list", ["b", "c"])]


async def test_different_things_are_worked_on_side_by_side() -> None:
    worker = Worker()
    tasks = [await worker.start(key, "a") for key in ("one", "two")]
    for _ in tasks:
        await worker.begun.acquire()
    worker.may_go.set()
    await asyncio.gather(*tasks)


async def test_what_became_of_an_item_is_its_own_matter() -> None:
    worker = Worker("b")
    tasks = [await worker.start("list", item) for item in "abc"]
    worker.may_go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), ValueError, type(None)]


async def test_a_round_that_fails_fails_for_all_in_it_and_for_no_others() -> None:
    worker = Worker(failure=RuntimeError("away"))
    tasks = [await worker.start("list", item) for item in "abc"]
    worker.may_go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["away"] * 3
    assert len(worker.rounds) == 2


async def test_whoever_is_cancelled_in_the_middle_of_a_round_leaves_it_to_the_others() -> None:
    worker = Worker()
    first, second = [await worker.start("list", item) for item in "ab"]
    await worker.begun.acquire()
    first.cancel()
    worker.may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert worker.done == ["b"]


async def test_whoever_is_cancelled_while_waiting_is_left_out() -> None:
    worker = Worker()
    first, second, third = [await worker.start("list", item) for item in "abc"]
    await worker.begun.acquire()
    second.cancel()
    await asyncio.sleep(0)
    worker.may_go.set()
    await asyncio.gather(first, third)
    assert worker.done == ["a", "c"]
