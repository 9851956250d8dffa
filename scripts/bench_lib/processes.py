"""Starts and stops the broker, the slow proxy and other programs, each in its own process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.bench_lib.scenario import Failed

STARTING_SECONDS = 120.0
STOPPING_SECONDS = 30.0
BROKER = Path(sys.executable).with_name("manifest-broker")
LINE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SlowProxy:
    """A slow proxy in front of the registry: its address, and the requests that pass through it."""

    round_trip_ms: float
    port: int
    process: asyncio.subprocess.Process

    @property
    def host(self) -> str:
        """As it stands in references."""
        return f"127.0.0.1:{self.port}"

    async def take_requests(self) -> list[str]:
        """Method and target of each request since the last call, in the order in which they were sent."""
        stdin, stdout = _pipes(self.process)
        stdin.write(b"\n")
        await stdin.drain()
        taken: list[str] = json.loads(await stdout.readline())
        return taken


@dataclass(frozen=True, slots=True)
class Broker:
    """A running service and the token for it."""

    address: str
    token: str
    pid: int


@asynccontextmanager
async def slow_proxy(host: str, port: int, *, round_trip_ms: float) -> AsyncIterator[SlowProxy]:
    command = [sys.executable, "-m", "scripts.bench_lib.proxy", host, str(port), str(round_trip_ms)]
    async with running(command, dict(os.environ)) as process:
        _, stdout = _pipes(process)
        yield SlowProxy(round_trip_ms, int(await stdout.readline()), process)


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Broker]:
    """The broker as anyone starts it: one process, its own Postgres, the settings it comes with."""
    token = secrets.token_hex(32)
    own = {name: value for name, value in os.environ.items() if not _configures_broker(name)}
    environment = {**own, "BROKER_ADMIN_TOKEN": token, "BROKER_LOG_LEVEL": "warning"}
    command = [str(BROKER), "serve", "--port", "0", "--data", str(directory / "broker")]
    async with running(command, environment) as process:
        _, stdout = _pipes(process)
        async with asyncio.timeout(STARTING_SECONDS):
            said = (await stdout.readline()).decode()
        address = re.search(r"http://[^\s,]+", said)
        if address is None:
            raise Failed(f"the broker did not start; it said: {said or 'nothing'}")
        yield Broker(address[0], token, process.pid)


@asynccontextmanager
async def running(
    command: list[str], environment: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with pipes to talk through, gone at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
    )
    try:
        yield process
    finally:
        await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    with suppress(TimeoutError):
        async with asyncio.timeout(STOPPING_SECONDS):
            await process.wait()
            return
    process.kill()
    await process.wait()


def _configures_broker(name: str) -> bool:
    return name == "DATABASE_URL" or name.startswith("BROKER_")


def _pipes(process: asyncio.subprocess.Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    if process.stdin is None or process.stdout is None:
        raise Failed("the process was started without pipes")
    return process.stdin, process.stdout


async def run_command(*command: str, environment: Mapping[str, str] | None = None) -> None:
    """To its end, or `Failed` with what it said; whoever stops waiting ends it."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Failed(f"{' '.join(command[:3])}: {said.decode(errors='replace')}")
