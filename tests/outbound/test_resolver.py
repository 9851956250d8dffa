"""Names whose resolver does not answer, beside others."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.outbound.resolver import Lookups
from tests.support.broker import PATIENCE

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]
ADDRESSES = [("192.0.2.1", int(socket.AF_INET))]


class Resolver:
    """Says nothing of names below `silent.test` until it is told to."""

    def __init__(self) -> None:
        self.speaks = threading.Event()
        self.asked: list[str] = []
        self._asking = threading.Semaphore(0)

    def __call__(self, host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        self._asking.release()
        if host.endswith("silent.test"):
            assert self.speaks.wait(PATIENCE)
        return list(FOUND)

    async def until_asked(self, times: int) -> None:
        for _ in range(times):
            assert await asyncio.to_thread(self._asking.acquire, timeout=PATIENCE)


@pytest.fixture
async def resolver() -> AsyncIterator[Resolver]:
    resolver = Resolver()
    yield resolver
    resolver.speaks.set()


async def find(lookups: Lookups, host: str) -> list[tuple[str, int]]:
    return await lookups.find(host, 443, socket.AF_INET)


async def test_names_that_nobody_answers_for_keep_no_others_waiting(resolver: Resolver) -> None:
    """Though there are more of them than threads."""
    lookups = Lookups(resolver)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(find(lookups, f"r{number}.silent.test"))
        await resolver.until_asked(8)
        assert await find(lookups, "reg.example") == ADDRESSES
        assert len(resolver.asked) == 9
        resolver.speaks.set()
    await lookups.close()


async def test_who_no_longer_waits_still_counts_until_the_resolver_has_answered(resolver: Resolver) -> None:
    lookups = Lookups(resolver)
    waiting = [asyncio.create_task(find(lookups, f"r{number}.silent.test")) for number in range(8)]
    await resolver.until_asked(8)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    late = asyncio.create_task(find(lookups, "late.silent.test"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert "late.silent.test" not in resolver.asked
    resolver.speaks.set()
    assert await late == ADDRESSES
    await lookups.close()


async def test_a_client_that_closes_leaves_nobody_waiting(resolver: Resolver) -> None:
    lookups = Lookups(resolver)
    waiting = asyncio.create_task(find(lookups, "r.silent.test"))
    await resolver.until_asked(1)
    await lookups.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
