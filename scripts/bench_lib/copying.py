"""Copies images between two registries: the broker, `skopeo copy`, and `curl | curl` for each blob."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import aiohttp

from app.registry.limits import Limits
from scripts.bench_lib.copy_tools import (
    TARGET,
    Effort,
    Route,
    Watch,
    find_missing,
    run_broker,
    run_pipe,
    run_skopeo,
)
from scripts.bench_lib.large_image import MIB, ImageSize, UploadedImage, upload_image
from scripts.bench_lib.processes import Broker, serving
from scripts.bench_lib.scenario import Failed
from tests.support.docker_registry import BINARY, DockerRegistry, find_docker_registry
from tests.support.images import OCI_MANIFEST

OK = 200
MEMORY = Path("/dev/shm")
ROOM = 4
MOST_GROWTH_MIB = 100
# The limit for an image of few large layers, as a multiple of the pipe.
TO_PIPE = 1.3


@dataclass(frozen=True, slots=True)
class Result:
    """What each needed for one image, in seconds, round by round."""

    size: ImageSize
    times: dict[str, list[float]]
    efforts: Sequence[Effort]

    def seconds(self, who: str) -> float:
        return median(self.times[who])


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench copy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of each, in turn")
    parser.add_argument(
        "--images",
        type=parse_images,
        default=(ImageSize(8, 128), ImageSize(200, 1)),
        metavar="LAYERSxMIB,…",
        help="8x128,200x1",
    )
    return parser.parse_args(arguments)


def parse_images(text: str) -> tuple[ImageSize, ...]:
    pairs = (part.split("x") for part in text.split(","))
    return tuple(ImageSize(int(layers), int(mib)) for layers, mib in pairs)


def choose_storage(size: ImageSize) -> Path | None:
    """In memory if there is room: their disk is the registries' own matter, and makes all figures noisy."""
    try:
        has_room = shutil.disk_usage(MEMORY).free > ROOM * size.mib * MIB and os.access(MEMORY, os.W_OK)
    except OSError:
        has_room = False
    say(f"the registries store in {MEMORY if has_room else tempfile.gettempdir()}")
    return MEMORY if has_room else None


async def measure(size: ImageSize, rounds: int, others: Sequence[str]) -> Result:
    """A source and a broker for all rounds; each copy goes to a registry that was never used."""
    binary = find_docker_registry()
    if binary is None:
        raise Failed(f"{BINARY} is not installed; on Debian and Ubuntu: apt-get install docker-registry")
    times: dict[str, list[float]] = {who: [] for who in ("broker", *others)}
    efforts = []
    where = choose_storage(size)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        async with DockerRegistry(binary, parent=where) as source, serving(Path(directory)) as broker:
            loaded = await upload_image(size, source.base_url)
            runs = _copy_tools(broker, others)
            for _ in range(rounds):
                for who, run in runs.items():
                    watch = Watch(broker.pid)
                    async with DockerRegistry(binary, parent=where) as target:
                        times[who].append(await _time(run, Route(source, target, loaded)))
                    if who == "broker":
                        efforts.append(watch.read())
    return Result(size, times, efforts)


Run = Callable[[Route], Awaitable[None]]


def _copy_tools(broker: Broker, others: Sequence[str]) -> dict[str, Run]:
    runs: dict[str, Run] = {
        "broker": lambda route: run_broker(route, broker),
        "skopeo": run_skopeo,
        "curl | curl": lambda route: run_pipe(route, Limits().transfers),
    }
    return {who: run for who, run in runs.items() if who == "broker" or who in others}


async def _time(run: Run, route: Route) -> float:
    began = perf_counter()
    await run(route)
    taken = perf_counter() - began
    await _check(route.target, route.loaded)
    return taken


async def _check(target: DockerRegistry, loaded: UploadedImage) -> None:
    """Speed is only worth comparing between those who do the same."""
    headers = {"Accept": OCI_MANIFEST}
    async with aiohttp.ClientSession(target.base_url) as session:
        async with session.get(f"/v2/{TARGET}/manifests/{loaded.digest}", headers=headers) as reply:
            if reply.status != OK or await reply.read() != loaded.manifest:
                raise Failed(f"the image is not at the target: {reply.status}")
        for digest, size in loaded.blobs:
            async with session.head(f"/v2/{TARGET}/blobs/{digest}") as reply:
                if reply.status != OK or reply.headers["Content-Length"] != str(size):
                    raise Failed(f"{digest} is not whole at the target")


def lines_of(result: Result, *, is_large: bool) -> Iterator[str]:
    yield f"{result.size}, from one docker-registry to another"
    for who, times in result.times.items():
        middle = median(times)
        rate = result.size.mib / middle
        spread = f"{min(times):.2f} to {max(times):.2f}"
        figures = f"  {who:<12}{middle:7.2f} s  {spread:<16}{rate:7.0f} MiB/s"
        yield f"{figures}  {_verdict(result, who, is_large)}".rstrip()
    growth = max(each.growth for each in result.efforts)
    resident = max(each.peak for each in result.efforts)
    holds = _holds(growth < MOST_GROWTH_MIB)
    cpu = median(each.cpu for each in result.efforts)
    yield f"  the broker's process took {cpu:.2f} s of processor time"
    yield (
        f"  the broker's process grew by {growth:.0f} MiB, to {resident:.0f}; "
        f"less than {MOST_GROWTH_MIB}: {holds}"
    )


def _verdict(result: Result, who: str, is_large: bool) -> str:
    if who == "broker":
        return ""
    ratio = result.seconds("broker") / result.seconds(who)
    bar = 1.0 if who == "skopeo" else TO_PIPE if is_large else None
    said = f"the broker takes {ratio:.2f} times as long"
    return said if bar is None else f"{said}; at most {bar:g}: {_holds(ratio <= bar)}"


def _holds(holds: bool) -> str:
    return "holds" if holds else "MISSED"


async def main(arguments: Sequence[str]) -> None:
    wanted = parse_arguments(arguments)
    missing = find_missing(["skopeo", "curl"])
    for name in missing:
        say(f"There is no {name} here, so it is left out; on Debian and Ubuntu: apt-get install {name}")
    others = [who for who in ("skopeo", "curl | curl") if who.split()[0] not in missing]
    for size in wanted.images:
        say(f"copying {size}, {wanted.rounds} times each")
        result = await measure(size, wanted.rounds, others)
        print("\n".join(lines_of(result, is_large=size.layer_mib > 1)), end="\n\n", flush=True)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(arguments: Sequence[str]) -> None:
    asyncio.run(main(arguments))
