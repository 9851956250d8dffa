"""The semaphore whose number of slots may change."""

from __future__ import annotations

import asyncio

from app.concurrency.resizable import ResizableSemaphore


async def test_the_size_is_never_exceeded_while_it_changes_and_cancelled_waiters_take_no_slot() -> None:
    semaphore, inside = ResizableSemaphore(8), 0

    async def work(number: int) -> None:
        nonlocal inside
        await semaphore.acquire()
        try:
            inside += 1
            await asyncio.sleep(0)
            # A task that got its slot before the semaphore shrank keeps it.
            assert inside <= 8
        finally:
            inside -= 1
            semaphore.release()

    tasks = [asyncio.create_task(work(number)) for number in range(200)]
    for step, size in enumerate((3, 8, 1, 5, 2, 7, 1)):
        semaphore.resize(size)
        for task in tasks[step::13]:
            task.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not semaphore.users
    assert semaphore.size == 1
    await semaphore.acquire()
    waiting = asyncio.create_task(semaphore.acquire())
    await asyncio.sleep(0)
    assert not waiting.done()
    semaphore.release()
    await waiting
