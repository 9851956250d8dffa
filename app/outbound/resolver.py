"""Resolves host names in threads, and refuses addresses that the policy forbids."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any
from weakref import WeakValueDictionary

from aiohttp.abc import AbstractResolver, ResolveResult

from app.outbound.policy import AccessPolicy

__all__ = ["CheckedResolver", "Lookup", "Lookups"]

# A look-up can't be stopped: it keeps its thread until the system's resolver gives up, which takes a minute.
_THREADS = 128
# A bound for the names of one domain: its owner could make up as many names as the pool has threads.
_PER_DOMAIN = 8

Resolve = Callable[..., list[tuple[Any, ...]]]
# Gives a name's addresses with their families.
Lookup = Callable[[str, int, socket.AddressFamily], Awaitable[list[tuple[str, int]]]]


class Lookups:
    """The system's resolver, run in threads of its own."""

    def __init__(self, resolve: Resolve = socket.getaddrinfo) -> None:
        self._resolve = resolve
        self._threads: ThreadPoolExecutor | None = None
        self._semaphores: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._running: set[asyncio.Task[list[tuple[str, int]]]] = set()

    async def find(self, host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
        """Return a name's addresses; if the caller is cancelled, the look-up runs on: nothing can stop it."""
        task = asyncio.create_task(self._find(host, port, family))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def _find(self, host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
        loop = asyncio.get_running_loop()
        threads = self._threads
        if threads is None:
            threads = self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="look-up")
        async with self._semaphore_of(host):
            try:
                answers = await loop.run_in_executor(
                    threads, lambda: self._resolve(host, port, type=socket.SOCK_STREAM, family=family)
                )
            except UnicodeError as error:
                # A label is empty or too long, so the name never reaches the system's resolver.
                raise socket.gaierror(socket.EAI_NONAME, "The name is not valid.") from error
        return [(str(sockaddr[0]), int(answer)) for answer, _, _, _, sockaddr in answers]

    def _semaphore_of(self, host: str) -> asyncio.Semaphore:
        domain = ".".join(host.rstrip(".").lower().split(".")[-2:])
        semaphore = self._semaphores.get(domain)
        if semaphore is None:
            semaphore = self._semaphores[domain] = asyncio.Semaphore(_PER_DOMAIN)
        return semaphore


class CheckedResolver(AbstractResolver):
    """Gives a name's addresses only if the policy allows all of them.

    The connector connects to these addresses and does not resolve the name again.
    """

    def __init__(self, policy: AccessPolicy, lookup: Lookup, *, seconds: float) -> None:
        self._policy = policy
        self._lookup = lookup
        self._seconds = seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        async with asyncio.timeout(self._seconds):
            answers = await self._lookup(host, port, family)
        for address, _ in answers:
            self._policy.check_address(ip_address(address), peer=host)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=address_family,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address, address_family in answers
        ]

    async def close(self) -> None:
        return None
