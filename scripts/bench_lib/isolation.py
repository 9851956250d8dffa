"""Pushes to a healthy registry, alone and beside a hundred to one that answers a byte a second."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import aiohttp
import uvloop
from sqlalchemy import text

from app.store.database import Database
from app.store.embedded import postgres_on
from scripts.bench_lib.processes import serving, slow_proxy
from scripts.bench_lib.scenario import TAG, Failed, Scenario, make_scenario, upload
from scripts.bench_lib.service import CREATED, OK, calling
from tests.support.docker_registry import BINARY, DockerRegistry, find_docker_registry

ACCEPTED = 202
READERS, READ_PAUSE = 2, 0.05
SAMPLE_SECONDS = 0.05
# Longer than any statement of the broker, and far shorter than the timeout of a silent registry.
HELD_SECONDS = 1.0
SETTLING_SECONDS, BETWEEN_SECONDS = 3.0, 2.0
DRIPPED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
# The number of open transactions, and of those that are open for long.
BUSY = text(
    "SELECT count(*), count(*) FILTER (WHERE xact_start < clock_timestamp() - make_interval(secs => :held))"
    " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND xact_start IS NOT NULL"
)


@dataclass(slots=True)
class Phase:
    """Seconds of each round of pushes, of each push, and of each read of the API."""

    rounds: list[float] = field(default_factory=list)
    pushes: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    reads_in_rounds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Transactions:
    """How many connections held a transaction: the most at once, and those that held one for long."""

    samples: int = 0
    most: int = 0
    held: int = 0


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench isolation", description=__doc__)
    parser.add_argument("--slow", type=int, default=100, metavar="N", help="lists for the slow registry")
    parser.add_argument(
        "--healthy", type=int, default=10, metavar="N", help="lists for the other, each round"
    )
    parser.add_argument("--rounds", type=int, default=8, metavar="N")
    parser.add_argument(
        "--round-trip", type=float, default=30.0, metavar="MS", help="to the healthy registry"
    )
    uvloop.run(main(parser.parse_args(arguments)))


async def main(arguments: argparse.Namespace) -> None:
    binary = find_docker_registry()
    if binary is None:
        raise Failed(f"{BINARY} is not installed; on Debian and Ubuntu: apt-get install docker-registry")
    scenario = make_scenario(4, 4)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        async with (
            DockerRegistry(binary) as registry,
            serving(Path(directory) / "one") as quiet,
            serving(Path(directory) / "two") as busy,
            slow_proxy("127.0.0.1", registry.port, round_trip_ms=arguments.round_trip) as proxy,
            dripping() as slow,
            calling(quiet) as service,
            calling(busy) as busy_service,
        ):
            await upload(scenario, registry.base_url)
            alone = Isolation(service, scenario, proxy.host, arguments)
            beside = Isolation(busy_service, scenario, proxy.host, arguments)
            await beside.start_slow(slow)
            with postgres_on(Path(directory) / "two" / "broker" / "postgres") as url:
                transactions = Transactions()
                async with sampling(url, transactions):
                    await measure(alone, beside, arguments.rounds)
            states = await beside.states()
    report(alone.phase, beside.phase, transactions, states)


async def measure(alone: Isolation, beside: Isolation, rounds: int) -> None:
    """Rounds in turn, so that what else the machine does falls on both."""
    # The first round pays for one-time work: connections, the registry's capabilities, caches.
    for each in (alone, beside):
        await each.round()
        each.phase = Phase()
    async with alone.reading(), beside.reading():
        for number in range(rounds):
            say(f"round {number + 1}")
            for each in (alone, beside):
                await each.round()
                await asyncio.sleep(BETWEEN_SECONDS)


class Isolation:
    """The calls to one broker, and how long they took."""

    def __init__(
        self, service: aiohttp.ClientSession, scenario: Scenario, healthy: str, arguments: argparse.Namespace
    ) -> None:
        self._service = service
        self._scenario = scenario
        self._healthy = healthy
        self._arguments = arguments
        self._slow: list[str] = []
        self._is_pushing = False
        self.phase = Phase()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Reads a list again and again for as long as the block runs."""
        read = await self._create(self._healthy)
        readers = [asyncio.create_task(self._read(read)) for _ in range(READERS)]
        try:
            yield
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def round(self) -> None:
        lists = [await self._create(self._healthy) for _ in range(self._arguments.healthy)]
        self._is_pushing = True
        began = perf_counter()
        self.phase.pushes += await asyncio.gather(*(self._push(each) for each in lists))
        self.phase.rounds.append(perf_counter() - began)
        self._is_pushing = False

    async def start_slow(self, host: str) -> None:
        """All that are for the slow registry, at once; they are left to it."""
        lists = [await self._create(host) for _ in range(self._arguments.slow)]
        operations = await asyncio.gather(*(self._enqueue(each) for each in lists))
        self._slow = list(operations)
        await asyncio.sleep(SETTLING_SECONDS)

    async def states(self) -> dict[str, int]:
        """What has become of those for the slow registry by now."""
        found: dict[str, int] = {}
        for operation in self._slow:
            async with self._service.get(f"/v1/operations/{operation}") as reply:
                state = (await reply.json())["state"]
            found[state] = found.get(state, 0) + 1
        return found

    async def _create(self, host: str) -> str:
        wanted = {
            "reference": f"{host}/{self._scenario.fresh_target('isolation')}:{TAG}",
            "sources": self._scenario.references(self._healthy),
            "insecure": True,
        }
        async with self._service.post("/v1/lists", json=wanted, headers={"Prefer": "wait=120"}) as reply:
            if reply.status != CREATED:
                raise Failed(f"a list could not be created: {reply.status} {await reply.text()}")
            return str((await reply.json())["id"])

    async def _push(self, list_id: str) -> float:
        began = perf_counter()
        headers = {"Prefer": "wait=120"}
        path = f"/v1/lists/{list_id}/push"
        async with self._service.post(path, json={"insecure": True}, headers=headers) as reply:
            if reply.status != OK:
                raise Failed(f"a push failed: {reply.status} {await reply.text()}")
        return perf_counter() - began

    async def _enqueue(self, list_id: str) -> str:
        headers = {"Prefer": "respond-async"}
        path = f"/v1/lists/{list_id}/push"
        async with self._service.post(path, json={"insecure": True}, headers=headers) as reply:
            if reply.status != ACCEPTED:
                raise Failed(f"a push was not accepted: {reply.status} {await reply.text()}")
            return str((await reply.json())["id"])

    async def _read(self, list_id: str) -> None:
        while True:
            began = perf_counter()
            async with self._service.get(f"/v1/lists/{list_id}") as reply:
                await reply.read()
                if reply.status != OK:
                    raise Failed(f"a read failed: {reply.status}")
            self.phase.reads.append(perf_counter() - began)
            if self._is_pushing:
                self.phase.reads_in_rounds.append(self.phase.reads[-1])
            await asyncio.sleep(READ_PAUSE)


@asynccontextmanager
async def dripping() -> AsyncIterator[str]:
    """A registry that answers everything, a byte a second from the first on."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            await reader.read(65536)
            for byte in DRIPPED:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@asynccontextmanager
async def sampling(url: str, transactions: Transactions) -> AsyncIterator[None]:
    """Looks at the database's connections for as long as the block runs."""
    database = Database(url, pool_size=1)

    async def sample() -> None:
        while True:
            async with database.transaction() as tx:
                busy, held = (await tx.execute(BUSY, {"held": HELD_SECONDS})).one()
            transactions.samples += 1
            transactions.most = max(transactions.most, busy)
            transactions.held += held
            await asyncio.sleep(SAMPLE_SECONDS)

    task = asyncio.create_task(sample())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.dispose()


def report(alone: Phase, beside: Phase, transactions: Transactions, states: dict[str, int]) -> None:
    print("in ms                                   alone   beside   ratio")
    for name, before, after in (
        ("each healthy push, median", alone.pushes, beside.pushes),
        ("a round of all at once, median", alone.rounds, beside.rounds),
    ):
        first, second = statistics.median(before) * 1e3, statistics.median(after) * 1e3
        print(f"{name:38}{first:7.0f}  {second:7.0f}   {second / first:5.2f}")
    print(f"{'API reads, p99':38}{p99(alone.reads):7.0f}  {p99(beside.reads):7.0f}")
    during = (p99(each.reads_in_rounds) for each in (alone, beside))
    print("{:38}{:7.0f}  {:7.0f}".format("API reads during rounds, p99", *during))
    print(
        f"transactions open at once, at most {transactions.most}; held for over {HELD_SECONDS:g} s: "
        f"{transactions.held} (of {transactions.samples} looks)"
    )
    print("pushes to the slow registry by then: " + ", ".join(f"{n} {state}" for state, n in states.items()))


def p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)] * 1e3


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
