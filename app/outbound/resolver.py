"""Names looked up beside the loop: however long a resolver thinks about some, the others find a thread."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakValueDictionary

__all__ = ["Lookups"]

# A look-up can't be stopped: it has its thread until the system's resolver gives up, which takes a minute.
_THREADS = 128
# So many for the names of one domain: whoever has one can make up as many names as there are threads.
_OF_ONE_DOMAIN = 8

Resolve = Callable[..., list[tuple[Any, ...]]]


class Lookups:
    """A name's addresses with their families, as the system's resolver tells them."""

    def __init__(self, resolve: Resolve = socket.getaddrinfo) -> None:
        self._resolve = resolve
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="look-up")
        self._gates: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._running: set[asyncio.Task[list[tuple[str, int]]]] = set()

    async def find(self, host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
        """Who no longer waits leaves the look-up to its end, which nothing can hasten."""
        task = asyncio.create_task(self._find(host, port, family))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def _find(self, host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
        loop = asyncio.get_running_loop()
        async with self._gate_of(host):
            answers = await loop.run_in_executor(
                self._threads, lambda: self._resolve(host, port, type=socket.SOCK_STREAM, family=family)
            )
        return [(str(sockaddr[0]), int(answer)) for answer, _, _, _, sockaddr in answers]

    def _gate_of(self, host: str) -> asyncio.Semaphore:
        domain = ".".join(host.rstrip(".").lower().split(".")[-2:])
        gate = self._gates.get(domain)
        if gate is None:
            gate = self._gates[domain] = asyncio.Semaphore(_OF_ONE_DOMAIN)
        return gate
