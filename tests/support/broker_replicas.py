"""A broker of several processes; when a test kills one, another takes its place."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from scripts.soak_lib.broker_soak import credentials_for
from tests.support.broker import KEY, PATIENCE, Client
from tests.support.broker_process import COMMAND, wait_until_listening
from tests.support.plain_http import plain_client
from tests.support.registry import RegistryDouble
from tests.support.workers import Workers

__all__ = ["Replicas", "push_workers", "variables_for"]


class Replicas:
    """Processes of the API; `client` speaks to one of those that are alive, as a balancer would choose it."""

    def __init__(
        self, token: str, dice: random.Random, *, variables: Mapping[str, str], count: int = 2
    ) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}
        self._dice = dice
        self._count = count
        self._variables = {**os.environ, **variables, "BROKER_ADMIN_TOKEN": token}
        self._alive: list[tuple[asyncio.subprocess.Process, Client]] = []
        self._clients: list[Client] = []
        self.deaths = 0

    @property
    def client(self) -> Client:
        return self._dice.choice(self._alive)[1]

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(self._start() for _ in range(self._count)))
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def kill_one(self) -> None:
        """At once and without a word, whatever it was about to answer."""
        process, _ = self._alive.pop(self._dice.randrange(len(self._alive)))
        process.kill()
        await process.communicate()
        self.deaths += 1
        await self._start()

    async def _start(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *(COMMAND, "serve", "--no-worker", "--port", "0"),
            env=self._variables,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            base_url = (await wait_until_listening(process)).base_url
        except BaseException:
            await _kill(process)
            raise
        client = plain_client(base_url=base_url, headers=self._headers, timeout=PATIENCE, trust_env=False)
        self._clients.append(client)
        self._alive.append((process, client))

    async def _stop(self) -> None:
        for client in self._clients:
            await client.aclose()
        for process, _ in self._alive:
            await _kill(process)


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


def variables_for(database_url: str, doubles: Sequence[RegistryDouble]) -> dict[str, str]:
    """As an operator sets them: the same database and the same secret key for all processes."""
    return {
        "DATABASE_URL": database_url,
        "BROKER_SECRET_KEY": KEY,
        "BROKER_ALLOW_LOOPBACK": "true",
        "BROKER_WORKER_CONCURRENCY": "32",
        "BROKER_REGISTRY_OPERATIONS": "12",
        "BROKER_REGISTRY_CREDENTIALS": json.dumps(credentials_for(doubles)),
        "BROKER_LOG_LEVEL": "error",
    }


def push_workers(variables: Mapping[str, str], dice: random.Random, *, count: int = 3) -> Workers:
    return Workers(lambda: ["tests.support.push_worker"], dice, count=count, variables=variables)
