"""Times the legs of a matrix build, one call each, until the tag with all images can be read.

Two cases: the last leg alone, and all legs at once, each compared with a bare client that makes the same
requests as soon as the data allow. The chain of requests: the leg's manifest, its config, the HEAD requests
for the tag and the images at once, and the PUT of the index.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

import aiohttp
import uvloop

from scripts.bench_lib.fanin_floor import Floor
from scripts.bench_lib.fanin_legs import Fresh, Legs, make_images
from scripts.bench_lib.floor import bare_client
from scripts.bench_lib.processes import SlowProxy, serving, slow_proxy
from scripts.bench_lib.scenario import Failed, TaggedManifest, read_back
from scripts.bench_lib.service import calling
from tests.support.docker_registry import BINARY, DockerRegistry, find_docker_registry

Run = Callable[[], Coroutine[None, None, None]]
Prepare = Callable[[Fresh, int], Awaitable[Run]]

MEMORY = Path("/dev/shm")
LOOK_SECONDS = 0.0005
PATIENCE_SECONDS = 60.0
CHAIN = 4


@dataclass(frozen=True, slots=True)
class Case:
    """`others` are in before the time begins; at most so many times the floor."""

    name: str
    others: int
    bar: float


@dataclass(slots=True)
class Figures:
    """Seconds, round by round, and the requests of the last one."""

    broker: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    requests: tuple[int, int] = (0, 0)

    @property
    def ratio(self) -> float:
        return median(self.broker) / median(self.floor)


class Timed:
    """Runs broker and floor in turn, each into a repository that nothing was ever listed in."""

    def __init__(
        self,
        registry: DockerRegistry,
        proxy: SlowProxy,
        service: aiohttp.ClientSession,
        bare: aiohttp.ClientSession,
        legs: int,
    ) -> None:
        self._registry = registry
        self._proxy = proxy
        self._service = service
        self._bare = bare
        self._images = make_images(legs)
        self._held: TaggedManifest | None = None

    async def run(self, case: Case, rounds: int) -> Figures:
        """The first round of both warms them up, and counts for nothing."""
        figures = Figures()
        for number in range(rounds + 1):
            broker, asked = await self.time("broker", self._broker, case)
            floor, needed = await self.time("floor", self._floor, case)
            if number:
                figures.broker.append(broker)
                figures.floor.append(floor)
                figures.requests = asked, needed
        return figures

    async def time(self, who: str, prepare: Prepare, case: Case) -> tuple[float, int]:
        """Seconds until the tag can be read, and how many requests were made."""
        fresh = Fresh(f"targets/{who}-{os.urandom(8).hex()}", self._images)
        await fresh.upload(self._registry.base_url)
        run = await prepare(fresh, case.others)
        await self._proxy.take_requests()
        began = perf_counter()
        async with asyncio.TaskGroup() as group:
            group.create_task(run())
            readable = group.create_task(self._readable(fresh))
        requests = len(await self._proxy.take_requests())
        await self._check(fresh)
        return readable.result() - began, requests

    async def _broker(self, fresh: Fresh, others: int) -> Run:
        legs = Legs(self._service, fresh, self._proxy.host)
        await legs.hand_in(range(others))
        return lambda: legs.hand_in(range(others, len(fresh.images)))

    async def _floor(self, fresh: Fresh, others: int) -> Run:
        if self._held is None:
            raise Failed("the floor puts what the broker has put before")
        floor = Floor(self._bare, fresh, self._held)
        await floor.read(range(others))
        return lambda: floor.publish(range(others, len(fresh.images)))

    async def _readable(self, fresh: Fresh) -> float:
        """The moment in which the registry has the tag; to ask it for that would cost both too much."""
        file = self._registry.tag_file(fresh.repository, fresh.tag)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not file.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(LOOK_SECONDS)
        return perf_counter()

    async def _check(self, fresh: Fresh) -> None:
        """Speed is only worth comparing between those who do the same."""
        held = await read_back(self._registry.base_url, fresh.repository)
        self._held = self._held or held
        if held.raw != self._held.raw:
            raise Failed(f"{fresh.repository} holds {held.digest}, another {self._held.digest}")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench fanin", description=__doc__)
    parser.add_argument("--legs", type=int, default=20, choices=range(2, 21), metavar="N", help="2 to 20")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="of broker and floor, in turn")
    parser.add_argument("--round-trip", type=float, default=30.0, metavar="MS")
    return parser.parse_args(arguments)


async def main(arguments: argparse.Namespace) -> bool:
    """Whether both bars are met."""
    binary = find_docker_registry()
    if binary is None:
        raise Failed(f"{BINARY} is not installed; on Debian and Ubuntu: apt-get install docker-registry")
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    legs = arguments.legs
    cases = (Case("the last leg", legs - 1, 1.5), Case(f"all {legs} at once", 0, 2.0))
    print(f"{legs} legs at {arguments.round_trip:g} ms, medians of {arguments.rounds} rounds\n")
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        async with (
            DockerRegistry(binary, parent=memory) as registry,
            serving(Path(directory)) as broker,
            slow_proxy("127.0.0.1", registry.port, round_trip_ms=arguments.round_trip) as proxy,
            calling(broker) as service,
            bare_client(proxy.host) as bare,
        ):
            timed = Timed(registry, proxy, service, bare, legs)
            measured = [(case, await timed.run(case, arguments.rounds)) for case in cases]
    for case, figures in measured:
        report(case, figures, arguments.round_trip)
    return all(figures.ratio <= case.bar for case, figures in measured)


def report(case: Case, figures: Figures, round_trip_ms: float) -> None:
    holds = "holds" if figures.ratio <= case.bar else "MISSED"
    print(f"{case.name}, from its request until the tag can be read")
    for who, times, requests in zip(
        ("floor", "broker"), (figures.floor, figures.broker), reversed(figures.requests), strict=True
    ):
        spread = f"{min(times) * 1e3:.0f} to {max(times) * 1e3:.0f}"
        print(f"  {who:<8}{median(times) * 1e3:6.0f} ms   {spread:<12} {requests:3} requests")
    print(f"  {figures.ratio:.2f} x the floor; at most {case.bar:g}: {holds}")
    if round_trip_ms:
        ideal = median(figures.broker) * 1e3 / (CHAIN * round_trip_ms)
        print(f"  {ideal:.2f} x {CHAIN} round trips of the proxy and nothing else\n")


def run(arguments: Sequence[str]) -> int:
    """The exit status."""
    return 0 if uvloop.run(main(parse_arguments(arguments))) else 1
