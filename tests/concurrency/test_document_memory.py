"""The limit of large documents in memory."""

from __future__ import annotations

import asyncio

from app.concurrency.document_memory import DocumentMemory
from tests.support.registry_clients import until

AT_ONCE = 100


async def test_the_number_of_large_documents_in_memory_is_limited() -> None:
    """Small documents don't wait for large ones, and neither a registry nor a tenant takes all slots."""
    memory = DocumentMemory()
    held = {"large": 0, "small": 0}
    most = dict(held)
    go_on = asyncio.Event()

    async def keep(registry: str, kind: str, tenant: str = "a") -> None:
        async with memory.reserve(tenant, registry) as reservation:
            await reservation.grow_to(4 * 1024 * 1024 if kind == "large" else 1024)
            held[kind] += 1
            most[kind] = max(most[kind], held[kind])
            await go_on.wait()
            held[kind] -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(keep("hostile.test", "large"))
            group.create_task(keep("hostile.test", "small"))
        await until(lambda: held["small"] == AT_ONCE and held["large"] == 4)
        honest = [group.create_task(keep("honest.test", "large")) for _ in range(4)]
        honest += [group.create_task(keep(f"{number}.test", "large")) for number in range(8)]
        await until(lambda: held["large"] == 8)
        # The slow documents of one tenant keep none of another waiting, on the same registry either.
        other = [group.create_task(keep("hostile.test", "large", "b")) for _ in range(4)]
        await until(lambda: held["large"] == 12)
        go_on.set()
        await asyncio.gather(*honest, *other)
    assert most["large"] <= 16


async def test_a_released_reservation_leaves_its_slots_to_others() -> None:
    memory = DocumentMemory()
    async with memory.reserve("a", "a.test") as first:
        await first.grow_to(1_000_000)
        await first.release()
        passed = await asyncio.gather(*(_pass_through(memory) for _ in range(4)))
        assert passed == [True] * 4


async def _pass_through(memory: DocumentMemory) -> bool:
    async with asyncio.timeout(120), memory.reserve("a", "a.test") as reservation:
        await reservation.grow_to(1_000_000)
        return True
