"""The look-up of names, and the check of their addresses."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from app import errors
from app.outbound.policy import AccessPolicy
from app.outbound.resolver import CheckedResolver, Lookups
from tests.support.broker import PATIENCE

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]
ADDRESSES = [("192.0.2.1", int(socket.AF_INET))]


class Resolver:
    """Answers for names below `silent.test` only once `speaks` is set."""

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


async def test_names_without_an_answer_delay_no_other_name(resolver: Resolver) -> None:
    """Even if they are more than the threads."""
    lookups = Lookups(resolver)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(find(lookups, f"r{number}.silent.test"))
        await resolver.until_asked(8)
        assert await find(lookups, "reg.example") == ADDRESSES
        assert len(resolver.asked) == 9
        resolver.speaks.set()
    await lookups.close()


async def test_a_cancelled_look_up_keeps_its_slot_until_the_resolver_answers(resolver: Resolver) -> None:
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


async def test_closing_cancels_every_waiting_look_up(resolver: Resolver) -> None:
    lookups = Lookups(resolver)
    waiting = asyncio.create_task(find(lookups, "r.silent.test"))
    await resolver.until_asked(1)
    await lookups.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


# --- addresses ---


PUBLIC = ("93.184.216.34", int(socket.AF_INET))
PUBLIC_V6 = ("2606:4700::1111", int(socket.AF_INET6))
LOOPBACK = ("127.0.0.1", int(socket.AF_INET))
METADATA = ("169.254.169.254", int(socket.AF_INET))
WRAPPED = ("64:ff9b::a9fe:a9fe", int(socket.AF_INET6))
SCOPED = ("fe80::1%1", int(socket.AF_INET6))


def checked(*answers: list[tuple[str, int]]) -> CheckedResolver:
    """A resolver that gives each look-up the next of the answers."""
    coming: Iterator[list[tuple[str, int]]] = iter(answers)

    async def look_up(host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
        return next(coming)

    return CheckedResolver(AccessPolicy(), look_up, seconds=10.0)


async def test_the_checked_addresses_are_returned_as_numeric_hosts() -> None:
    found = await checked([PUBLIC, PUBLIC_V6]).resolve("reg.test", 443)
    assert [(each["host"], each["port"]) for each in found] == [(PUBLIC[0], 443), (PUBLIC_V6[0], 443)]
    assert all(each["flags"] & socket.AI_NUMERICHOST for each in found)


@pytest.mark.parametrize("bad", [LOOPBACK, METADATA, WRAPPED, SCOPED])
async def test_one_forbidden_address_refuses_the_name(bad: tuple[str, int]) -> None:
    for answer in ([bad], [PUBLIC, bad], [bad, PUBLIC], [PUBLIC, PUBLIC_V6, bad]):
        with pytest.raises(errors.RegistryForbidden) as caught:
            await checked(answer).resolve("reg.test", 443)
        assert caught.value.members["registry"] == "reg.test"


async def test_every_answer_is_checked() -> None:
    changing = checked([PUBLIC], [LOOPBACK])
    await changing.resolve("reg.test", 443)
    with pytest.raises(errors.RegistryForbidden):
        await changing.resolve("reg.test", 443)


@pytest.mark.parametrize("host", [f"{'a' * 64}.test", "a..b.test", ".test"])
async def test_a_name_that_no_resolver_takes_is_unknown(host: str) -> None:
    lookups = Lookups()
    with pytest.raises(socket.gaierror):
        await find(lookups, host)
    await lookups.close()
