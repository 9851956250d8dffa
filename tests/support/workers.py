"""Worker processes that are killed and stalled, and replaced when they die."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Workers", "end_with_parent"]

PROJECT = Path(__file__).parents[2]


class Workers:
    """`command` gives the module and the arguments of each new one; `variables` go into its environment."""

    def __init__(
        self,
        command: Callable[[], Sequence[str]],
        dice: random.Random,
        *,
        count: int = 3,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._dice = dice
        self._count = count
        self._variables = {**os.environ, **(variables or {})}
        self._processes: list[asyncio.subprocess.Process] = []
        self.deaths = 0

    async def __aenter__(self) -> Self:
        try:
            for _ in range(self._count):
                await self.start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def start(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *self._command(), cwd=PROJECT, env=self._variables
        )
        self._processes.append(process)

    async def kill_one(self) -> None:
        """At once and without a word; another takes its place."""
        victim = self._processes.pop(self._dice.randrange(len(self._processes)))
        victim.kill()
        await victim.wait()
        self.deaths += 1
        await self.start()

    async def stall_one(self, seconds: float) -> None:
        """Past its lease, and then it goes on as if nothing had been."""
        victim = self._dice.choice(self._processes)
        victim.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        victim.send_signal(signal.SIGCONT)

    async def _stop(self) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.kill()
        for process in self._processes:
            await process.wait()


async def end_with_parent(parent: int) -> None:
    """A test run that is killed leaves no workers behind."""
    while os.getppid() == parent:  # noqa: ASYNC110
        await asyncio.sleep(1)
    os._exit(1)
