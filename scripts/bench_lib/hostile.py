"""Sends hostile documents at the registry client, many at a time, and watches its loop and its memory."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from app.errors import BrokerError
from app.oci.manifest import ImageManifest
from app.oci.reference import parse_reference
from app.registry.client import Access, AccessPolicy, Limits, RegistryClient
from scripts.bench_lib.hostile_bodies import answers, documents, small_documents
from scripts.bench_lib.hostile_registry import repository_of
from scripts.bench_lib.programs import running

MOST_MIB = 400
LONGEST_MS = 50
# The patience of a client that is measured: dripping ends by it.
LIMITS = Limits(call_seconds=10.0, connect_seconds=10.0, attempts=1)
SLOW = ("dripping body", "dripping header", "endless body", "endless headers", "silence")
CONFIGS = ("deep arrays", "wide numbers", "as many keys as are taken", "one string of escapes")


@dataclass(slots=True)
class Watch:
    """The longest that the loop kept a short sleep waiting, and the most memory seen then.

    `busy` is the part of such a wait that this thread computed, whoever else uses the processor.
    """

    lag: float = 0.0
    busy: float = 0.0
    resident: int = 0

    async def run(self) -> None:
        tick = 0.001
        while True:
            began, used = time.perf_counter(), time.thread_time()
            await asyncio.sleep(tick)
            self.lag = max(self.lag, time.perf_counter() - began - tick)
            self.busy = max(self.busy, time.thread_time() - used)
            self.resident = max(self.resident, resident())


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    seconds: float
    watch: Watch
    outcomes: Counter[str]

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count} {name}" for name, count in self.outcomes.most_common(4))
        return (
            f"{self.name:34} {self.seconds:6.1f} s {self.watch.lag * 1000:6.1f} ms "
            f"{self.watch.busy * 1000:6.1f} ms {self.watch.resident / 2**20:6.0f} MiB  {outcomes}"
        )


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@asynccontextmanager
async def hostile_registry() -> AsyncIterator[str]:
    command = [sys.executable, "-m", "scripts.bench_lib.hostile_registry"]
    async with running(command, dict(os.environ)) as process:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(await process.stdout.readline())}"


async def fetch(client: RegistryClient, host: str, name: str) -> str:
    """What came of it, as a word."""
    reference = parse_reference(f"{host}/{repository_of(name)}:1")
    access = Access(insecure=True)
    try:
        found = (await client.fetch_manifest(reference, access)).manifest
        if name.startswith("config ") and isinstance(found, ImageManifest):
            await client.fetch_image_config(reference.repository, found.config, access)
    except BrokerError as error:
        return error.code
    return "taken"


async def attack(client: RegistryClient, host: str, title: str, names: Sequence[str]) -> Result:
    gc.collect()
    watch = Watch()
    watching = asyncio.create_task(watch.run())
    began = time.perf_counter()
    outcomes = await asyncio.gather(*(fetch(client, host, name) for name in names))
    seconds = time.perf_counter() - began
    watching.cancel()
    return Result(title, seconds, watch, Counter(outcomes))


async def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/hostile", description=__doc__)
    parser.add_argument("--at-once", type=int, default=100, metavar="N")
    parser.add_argument("--only", default="", metavar="TEXT", help="kinds whose name contains it")
    arguments = parser.parse_args()
    kinds = [*documents(), *small_documents(), *answers(), *SLOW, *(f"config {name}" for name in CONFIGS)]
    kinds = [kind for kind in kinds if arguments.only in kind]
    gc.freeze()
    results = []
    policy = AccessPolicy.parse(allow_loopback=True)
    async with hostile_registry() as host, RegistryClient(policy, limits=LIMITS) as client:
        for kind in kinds:
            results.append(await attack(client, host, kind, [kind] * arguments.at_once))
            print(results[-1], flush=True)
        mixed = [kinds[place % len(kinds)] for place in range(arguments.at_once)]
        results.append(await attack(client, host, "all of these, mixed", mixed))
        print(results[-1])
    lag = max(result.watch.lag for result in results)
    busy = max(result.watch.busy for result in results)
    most = max(result.watch.resident for result in results)
    print(f"\nlongest standstill {lag * 1000:.1f} ms, of it computing {busy * 1000:.1f} ms at most")
    print(f"most memory {most / 2**20:.0f} MiB")
    return int(busy * 1000 > LONGEST_MS or most > MOST_MIB * 2**20)


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
