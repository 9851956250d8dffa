"""Feeds hostile documents to the registry client, many at once, and measures its event loop and memory.

It fails if the loop is blocked for too long in wall-clock time. On a busy machine it subtracts the time in
which the loop's thread was ready and no processor was free, and says so in its output. It subtracts nothing
else: waiting for a lock or a disk counts.
"""

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
from io import FileIO
from pathlib import Path

import uvloop

from app.errors import BrokerError
from app.oci.manifest import ImageManifest
from app.oci.reference import parse_reference
from app.registry.client import Access, Limits, RegistryClient, RegistryPolicy
from scripts.bench_lib.hostile_bodies import answers, documents, small_documents
from scripts.bench_lib.hostile_registry import repository_of
from scripts.bench_lib.processes import running

MOST_MIB = 400
LONGEST_MS = 50
# The timeout of the measured client; it ends dripping answers.
LIMITS = Limits(call_seconds=10.0, connect_seconds=10.0, attempts=1)
SLOW = ("dripping body", "dripping header", "endless body", "endless headers", "silence")
CONFIGS = ("deep arrays", "wide numbers", "as many keys as are taken", "one string of escapes")


@dataclass(slots=True)
class Watch:
    """The longest delay of a short sleep in the loop, and the most memory in that time.

    `own` leaves out the time without a processor; `busy` is the part that this thread computed.
    """

    lag: float = 0.0
    own: float = 0.0
    busy: float = 0.0
    resident: int = 0

    async def run(self) -> None:
        tick = 0.001
        with open_schedule() as schedule:
            while True:
                began, used, waited = time.perf_counter(), time.thread_time(), waiting(schedule)
                await asyncio.sleep(tick)
                lag = time.perf_counter() - began - tick
                self.lag = max(self.lag, lag)
                self.own = max(self.own, lag - (waiting(schedule) - waited))
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
            f"{self.name:34} {self.seconds:6.1f} s {self.watch.lag * 1000:6.1f} {self.watch.own * 1000:6.1f} "
            f"{self.watch.busy * 1000:6.1f} ms {self.watch.resident / 2**20:6.0f} MiB  {outcomes}"
        )


def open_schedule() -> FileIO:
    """What the kernel's scheduler knows of this thread."""
    return Path("/proc/thread-self/schedstat").open("rb", buffering=0)


def waiting(schedule: FileIO) -> float:
    """For how many seconds the thread was ready to run and no processor was free."""
    schedule.seek(0)
    return int(schedule.read().split()[1]) / 1e9


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
    load = os.getloadavg()[0]
    print(f"{'':42} standstill, own, computing")
    policy = RegistryPolicy.parse(allow_loopback=True)
    async with hostile_registry() as host, RegistryClient(policy, limits=LIMITS) as client:
        for kind in kinds:
            results.append(await attack(client, host, kind, [kind] * arguments.at_once))
            print(results[-1], flush=True)
        mixed = [kinds[place % len(kinds)] for place in range(arguments.at_once)]
        results.append(await attack(client, host, "all of these, mixed", mixed))
        print(results[-1])
    return judge([result.watch for result in results], load)


def judge(watches: Sequence[Watch], load: float) -> int:
    lag = max(watch.lag for watch in watches)
    own = max(watch.own for watch in watches)
    busy = max(watch.busy for watch in watches)
    most = max(watch.resident for watch in watches)
    is_quiet = load <= (os.cpu_count() or 1) / 2
    print(
        f"\nlongest standstill {lag * 1000:.1f} ms; {own * 1000:.1f} ms without the time in which no "
        f"processor was free; {busy * 1000:.1f} ms computing"
    )
    print(f"most memory {most / 2**20:.0f} MiB")
    if not is_quiet:
        print(f"the machine was busy (load {load:.1f} before), so the second of these figures is judged")
    is_good = (lag if is_quiet else own) * 1000 <= LONGEST_MS and most <= MOST_MIB * 2**20
    print(f"at most {LONGEST_MS} ms and {MOST_MIB} MiB: {'holds' if is_good else 'missed'}")
    return int(not is_good)


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
