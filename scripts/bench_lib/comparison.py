"""All rounds at one round trip: broker and floor in turn, then docker, each into a repository of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import aiohttp

from scripts.bench_lib.docker_manifest import run_docker
from scripts.bench_lib.floor import bare_client, run_floor
from scripts.bench_lib.processes import SlowProxy
from scripts.bench_lib.recording import Recording
from scripts.bench_lib.scenario import Failed, Round, Scenario, TaggedManifest, read_back
from scripts.bench_lib.service import run_broker

PINGS = 20

Run = Callable[[str], Awaitable[Round]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One round, the requests that it made, and what its tag gives to readers."""

    round: Round
    target: str
    requests: Sequence[str]
    held: TaggedManifest


@dataclass(frozen=True, slots=True)
class Series:
    """The outcomes of one of those compared; figures are medians."""

    outcomes: Sequence[Outcome]

    @property
    def create(self) -> float:
        return median(each.round.create for each in self.outcomes)

    @property
    def push(self) -> float:
        return median(each.round.push for each in self.outcomes)

    @property
    def seconds(self) -> float:
        return median(each.round.seconds for each in self.outcomes)

    @property
    def spread(self) -> tuple[float, float]:
        times = [each.round.seconds for each in self.outcomes]
        return min(times), max(times)

    @property
    def requests(self) -> int:
        return round(median(len(each.requests) for each in self.outcomes))


@dataclass(frozen=True, slots=True)
class Result:
    """All of one round trip; `observed_ms` is how long the smallest request took through the proxy."""

    round_trip_ms: float
    observed_ms: float
    floor: Series
    broker: Series
    docker: Series | None


class Comparison:
    """One slow proxy in front of one registry, and everything that uses it."""

    def __init__(self, scenario: Scenario, registry: str, proxy: SlowProxy) -> None:
        self._scenario = scenario
        self._registry = registry
        self._proxy = proxy
        self._digest: str | None = None

    async def run(
        self, service: aiohttp.ClientSession, *, rounds: int, docker: str | None, docker_runs: int
    ) -> Result:
        """The first round of broker and floor warms them up, and counts for nothing."""

        async def broker(target: str) -> Round:
            return await run_broker(service, self._scenario, self._proxy.host, target)

        async with bare_client(self._proxy.host) as bare:
            first = await self._measure("broker", broker)
            recording = Recording(self._scenario, first.target, first.held, first.requests)

            async def floor(target: str) -> Round:
                return await run_floor(bare, recording, target)

            await self._measure("floor", floor)
            pairs = [
                (await self._measure("broker", broker), await self._measure("floor", floor))
                for _ in range(rounds)
            ]
            observed = await self._observe(bare)
        return Result(
            self._proxy.round_trip_ms,
            observed,
            floor=Series([pair[1] for pair in pairs]),
            broker=Series([pair[0] for pair in pairs]),
            docker=await self._run_docker(docker, docker_runs) if docker and docker_runs else None,
        )

    async def _run_docker(self, docker: str, runs: int) -> Series:
        async def docker_round(target: str) -> Round:
            return await run_docker(docker, self._scenario, self._proxy.host, target)

        return Series([await self._measure("docker", docker_round) for _ in range(runs)])

    async def _measure(self, who: str, run: Run) -> Outcome:
        target = self._scenario.fresh_target(who)
        await self._proxy.take_requests()
        taken = await run(target)
        requests = await self._proxy.take_requests()
        held = await read_back(self._registry, target)
        # Only runs with the same result are compared.
        self._digest = self._digest or held.digest
        if held.digest != self._digest:
            raise Failed(f"{who} put {held.digest}, where another put {self._digest}")
        return Outcome(taken, target, requests, held)

    async def _observe(self, bare: aiohttp.ClientSession) -> float:
        times = []
        for _ in range(PINGS):
            began = perf_counter()
            async with bare.get("/v2/") as reply:
                await reply.read()
            times.append(perf_counter() - began)
        return median(times) * 1000
