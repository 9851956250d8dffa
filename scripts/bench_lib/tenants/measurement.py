"""The delay of one project's calls while another project does its worst, as a ratio to the delay alone."""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import aiohttp
import uvloop

from scripts.bench_lib.processes import Broker, serving, slow_proxy
from scripts.bench_lib.scenario import Failed, Scenario, make_scenario, upload
from scripts.bench_lib.service import CREATED, calling
from scripts.bench_lib.tenants.cases import CASES, Case, Project
from tests.support.docker_registry import BINARY, DockerRegistry, find_docker_registry

BAR = 1.5
# Of the time beside the other project, so much is measured alone before.
ALONE_SHARE = 0.5
SETTLING_SECONDS, BETWEEN_SECONDS = 3.0, 0.1
MEMORY = Path("/dev/shm")


@dataclass(slots=True)
class Result:
    """Seconds of each call, alone and beside the other project, and the answers that this one got."""

    name: str
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)

    @property
    def ratio(self) -> float:
        return statistics.median(self.beside) / statistics.median(self.alone)


def run(arguments: Sequence[str]) -> int:
    """The exit status: 1 if a delay is beyond the bar."""
    parser = argparse.ArgumentParser(prog="scripts/bench tenants", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=60.0, metavar="S", help="beside the other, in each case"
    )
    parser.add_argument("--round-trip", type=float, default=30.0, metavar="MS", help="to the registry")
    parser.add_argument("--cases", default="", metavar="TEXT", help="only those whose names contain this")
    results = uvloop.run(main(parser.parse_args(arguments)))
    report(results)
    return int(any(result.ratio > BAR for result in results))


async def main(arguments: argparse.Namespace) -> list[Result]:
    binary = find_docker_registry()
    if binary is None:
        raise Failed(f"{BINARY} is not installed; on Debian and Ubuntu: apt-get install docker-registry")
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    scenario = make_scenario(4, 4)
    async with (
        DockerRegistry(binary, parent=memory) as registry,
        slow_proxy("127.0.0.1", registry.port, round_trip_ms=arguments.round_trip) as proxy,
    ):
        await upload(scenario, registry.base_url)
        wanted = [case for case in CASES if arguments.cases in case.name]
        return [await measure(case, proxy.host, scenario, arguments.seconds) for case in wanted]


async def measure(kind: type[Case], registry: str, scenario: Scenario, seconds: float) -> Result:
    """One case with a broker of its own, so that it leaves nothing to the next."""
    result = Result(kind.name)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        async with (
            serving(Path(directory)) as broker,
            calling(broker) as ours,
            another_project(broker, ours) as theirs,
        ):
            stranger, case = Project(theirs), kind(registry, scenario)
            async with case.ready(Project(ours), stranger):
                # The first calls pay for one-time work: connections, the registry's capabilities, caches.
                await timed(case, 2.0)
                say(f"{case.name}: alone")
                result.alone = await timed(case, seconds * ALONE_SHARE)
                async with going_on(case):
                    await asyncio.sleep(SETTLING_SECONDS)
                    say(f"{case.name}: beside the other project")
                    result.beside = await timed(case, seconds)
            result.answers = stranger.answers
    return result


@asynccontextmanager
async def going_on(case: Case) -> AsyncIterator[None]:
    """The other project does its worst for as long as the block runs."""
    worst = asyncio.create_task(case.worst())
    try:
        yield
    finally:
        has_failed = worst.done()
        worst.cancel()
        (failure,) = await asyncio.gather(worst, return_exceptions=True)
    if has_failed:
        raise Failed(f"the other project stopped: {failure!r}")


@asynccontextmanager
async def another_project(
    broker: Broker, admin: aiohttp.ClientSession
) -> AsyncIterator[aiohttp.ClientSession]:
    await _post(admin, "/v1/projects", {"name": "theirs"})
    token = (await _post(admin, "/v1/tokens", {"name": "ci", "project": "theirs"}))["token"]
    async with calling(Broker(broker.address, token, broker.pid)) as session:
        yield session


async def _post(session: aiohttp.ClientSession, path: str, body: dict[str, str]) -> dict[str, str]:
    async with session.post(path, json=body) as reply:
        if reply.status != CREATED:
            raise Failed(f"{path} answered {reply.status}: {await reply.text()}")
        made: dict[str, str] = await reply.json()
        return made


async def timed(case: Case, seconds: float) -> list[float]:
    """Call again and again for so long, at least once."""
    found: list[float] = []
    end = perf_counter() + seconds
    while not found or perf_counter() < end:
        began = perf_counter()
        await case.delay()
        found.append(perf_counter() - began)
        await asyncio.sleep(BETWEEN_SECONDS)
    return found


def report(results: Sequence[Result]) -> None:
    print(f"{'median and p95 in ms':44}{'alone':>14}{'beside':>16}{'ratio':>8}")
    for result in results:
        alone, beside = (f"{_ms(each, 0.5)} ({_ms(each, 0.95)})" for each in (result.alone, result.beside))
        print(f"{result.name:44}{alone:>14}{beside:>16}{result.ratio:8.2f}")
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(result.answers.items()))
        print(f"    {len(result.beside)} calls; the answers to the other project: {answers}")
    print(f"The bar is a ratio of {BAR:g}.")


def _ms(seconds: Sequence[float], share: float) -> str:
    ordered = sorted(seconds)
    return f"{ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3:.0f}"


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
