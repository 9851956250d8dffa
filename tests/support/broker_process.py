"""The broker as users start it: the command, in its own processes."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_ADDRESS = re.compile(r"listens on (http://[^,\s]+)")
COMMAND = str(Path(sys.executable).with_name("manifest-broker"))


@dataclass(frozen=True)
class BrokerProcess:
    """`output` is what it printed until it listened."""

    base_url: str
    output: str
    pid: int


@asynccontextmanager
async def running_broker(
    data: Path, settings: Mapping[str, str] | None = None, *options: str
) -> AsyncIterator[BrokerProcess]:
    """`manifest-broker serve` on a free port; ends it by its pid, and waits for that."""
    arguments = ("serve", "--port", "0", "--data", str(data), *options)
    async with _running(arguments, settings) as process:
        yield await wait_until_listening(process)


@asynccontextmanager
async def running_worker(settings: Mapping[str, str]) -> AsyncIterator[None]:
    """`manifest-broker worker`, which says nothing as long as all is well."""
    async with _running(("worker",), settings):
        yield


@asynccontextmanager
async def _running(
    arguments: tuple[str, ...], settings: Mapping[str, str] | None
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        env={**os.environ, **(settings or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def wait_until_listening(process: asyncio.subprocess.Process) -> BrokerProcess:
    """Once it listens; its standard output is a pipe."""
    assert process.stdout is not None
    output = ""
    while (match := _ADDRESS.search(output)) is None:
        line = await process.stdout.readline()
        assert line, f"the broker ended with {process.returncode}: {output}"
        output += line.decode()
    return BrokerProcess(match[1], output, process.pid)
