"""Items that arrive while a batch of their key runs form the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from app.concurrency.batching import Batcher


class Worker:
    """Runs batches when the test allows it, and records them; `bad` items fail."""

    def __init__(self, *bad: str, failure: Exception | None = None) -> None:
        self.batches: list[tuple[str, list[str]]] = []
        self.done: list[str] = []
        self.begun = asyncio.Semaphore(0)
        self.may_go = asyncio.Event()
        self._bad = bad
        self._failure = failure
        self.batcher = Batcher(self._perform)

    async def _perform(self, key: str, items: Sequence[str]) -> Sequence[Exception | None]:
        self.batches.append((key, list(items)))
        self.begun.release()
        await self.may_go.wait()
        if self._failure is not None:
            raise self._failure
        self.done += items
        return [ValueError(item) if item in self._bad else None for item in items]

    async def start(self, key: str, item: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self.batcher.run(key, item))
        await asyncio.sleep(0)
        return task


async def test_items_that_arrive_during_a_batch_share_the_next_one() -> None:
    worker = Worker()
    tasks = [await worker.start("list", item) for item in "abc"]
    await worker.begun.acquire()
    worker.may_go.set()
    await asyncio.gather(*tasks)
    assert worker.batches == [("list", ["a"]), ("list", ["b", "c"])]


async def test_batches_of_different_keys_run_concurrently() -> None:
    worker = Worker()
    tasks = [await worker.start(key, "a") for key in ("one", "two")]
    for _ in tasks:
        await worker.begun.acquire()
    assert worker.batches == [("one", ["a"]), ("two", ["a"])]
    assert worker.done == []
    worker.may_go.set()
    await asyncio.gather(*tasks)


async def test_a_failed_item_fails_only_its_own_caller() -> None:
    worker = Worker("b")
    tasks = [await worker.start("list", item) for item in "abc"]
    worker.may_go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), ValueError, type(None)]


async def test_a_failed_batch_fails_every_caller_of_that_batch_and_no_other() -> None:
    worker = Worker(failure=RuntimeError("away"))
    tasks = [await worker.start("list", item) for item in "abc"]
    worker.may_go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["away"] * 3
    assert len(worker.batches) == 2


async def test_a_caller_cancelled_during_its_batch_leaves_the_batch_to_the_others() -> None:
    worker = Worker()
    first, second = [await worker.start("list", item) for item in "ab"]
    await worker.begun.acquire()
    first.cancel()
    worker.may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert worker.done == ["b"]


async def test_a_caller_cancelled_while_waiting_is_left_out() -> None:
    worker = Worker()
    first, second, third = [await worker.start("list", item) for item in "abc"]
    await worker.begun.acquire()
    second.cancel()
    await asyncio.sleep(0)
    worker.may_go.set()
    await asyncio.gather(first, third)
    assert worker.done == ["a", "c"]
