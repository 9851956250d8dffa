"""Parses untrusted documents: small ones at once, large ones in separate processes."""

from __future__ import annotations

import asyncio
import logging
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import app
from app import errors

__all__ = ["Parsers"]

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

# Parsing takes a third of a millisecond at worst.
_TINY = 4 * 1024
# Parsing takes 4 ms at worst. A larger document may take 50 ms. A thread would hold the interpreter's lock
# for that time, so a process parses it.
_SMALL = 64 * 1024
_PROCESSES = 2
_SECONDS = 30.0
_LENGTH_BYTES = 4
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from app.registry.parsing_process import main; main()"
)


class Parsers:
    """Starts the processes when they are first needed, and keeps them until `close`."""

    def __init__(self) -> None:
        self._here = asyncio.Lock()
        self._turns = asyncio.Semaphore(_PROCESSES)
        self._idle: list[asyncio.subprocess.Process] = []

    async def run(
        self, read: Callable[Concatenate[bytes, P], T], raw: bytes, *args: P.args, **named: P.kwargs
    ) -> T:
        """Run `read(raw, …)`, where `read` is a function at the top of a module of `app`."""
        if len(raw) <= _TINY:
            return read(raw, *args, **named)
        if len(raw) <= _SMALL:
            async with self._here:
                try:
                    return read(raw, *args, **named)
                finally:
                    # Let everything else that is due run before the next document.
                    await asyncio.sleep(0)
        async with self._turns:
            answer = await self._ask(pickle.dumps((read, raw, args, named)))
        outcome: T | errors.BrokerError = pickle.loads(answer)  # noqa: S301 - from our own process
        if not isinstance(outcome, errors.BrokerError):
            return outcome
        try:
            raise outcome
        finally:
            # An error that its own frame refers to keeps the frame, and with it the document,
            # until the next garbage collection.
            del outcome

    async def close(self) -> None:
        """End the processes."""
        idle, self._idle = self._idle, []
        for process in idle:
            await _end(process)

    async def _ask(self, question: bytes) -> bytes:
        process = self._idle.pop() if self._idle else await _start()
        try:
            async with asyncio.timeout(_SECONDS):
                answer = await _exchange(process, question)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            await _end(process)
            _log.warning("A process that reads documents was killed because it did not answer")
            raise errors.Unavailable("A large document could not be read. Try again.") from error
        except BaseException:
            # Its answer would go to the next caller.
            await _end(process)
            raise
        self._idle.append(process)
        return answer


async def _start() -> asyncio.subprocess.Process:
    """Start without our environment: code that parses hostile documents needs no secrets."""
    root = str(Path(app.__path__[0]).parent)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", _PROGRAM, root),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={},
    )


async def _exchange(process: asyncio.subprocess.Process, question: bytes) -> bytes:
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None  # noqa: S101 - as it was started
    assert stdout is not None  # noqa: S101
    stdin.write(len(question).to_bytes(_LENGTH_BYTES))
    stdin.write(question)
    await stdin.drain()
    return await stdout.readexactly(int.from_bytes(await stdout.readexactly(_LENGTH_BYTES)))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()
