"""The tools that copy an image from one registry to another: the broker, skopeo, and curl piped into curl."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from scripts.bench_lib.large_image import REPOSITORY, UploadedImage, put_manifest
from scripts.bench_lib.processes import Broker, run_command
from scripts.bench_lib.scenario import TAG, Failed
from scripts.bench_lib.service import calling, create_and_push
from tests.support.docker_registry import DockerRegistry

TARGET = "targets/large"
KIB, MIB = 1024, 1024 * 1024
# One blob: opens an upload, then pipes the download into it, without a disk between.
PIPE = r"""
set -euo pipefail
opened=$(curl -fsS -o /dev/null -D - -X POST "$2/v2/$3/blobs/uploads/")
location=$(sed -n 's/^[Ll]ocation: *//p' <<<"$opened" | tr -d '\r')
curl -fsS "$1/v2/$4/blobs/$5" | curl -fsS -o /dev/null -H 'Expect:' -T - "$location&digest=$5"
"""


@dataclass(frozen=True, slots=True)
class Route:
    """From a registry that has the image to one that has nothing."""

    source: DockerRegistry
    target: DockerRegistry
    loaded: UploadedImage


@dataclass(frozen=True, slots=True)
class Effort:
    """What a copy asked of a process: memory in MiB before and at most, and seconds of processor."""

    before: float
    peak: float
    cpu: float

    @property
    def growth(self) -> float:
        return self.peak - self.before


def find_missing(names: Sequence[str]) -> list[str]:
    return [name for name in names if shutil.which(name) is None]


async def run_broker(route: Route, broker: Broker) -> None:
    async with calling(broker) as service:
        source = f"{route.source.host}/{REPOSITORY}:{TAG}"
        await create_and_push(service, f"{route.target.host}/{TARGET}:{TAG}", [source])


async def run_skopeo(route: Route) -> None:
    plain = "--src-tls-verify=false", "--dest-tls-verify=false"
    source = f"docker://{route.source.host}/{REPOSITORY}:{TAG}"
    target = f"docker://{route.target.host}/{TARGET}:{TAG}"
    await run_command("skopeo", "copy", "--quiet", "--preserve-digests", *plain, source, target)


async def run_pipe(route: Route, at_once: int) -> None:
    """As many pipes side by side as the broker has transfers, and the manifest when all are through."""
    gate = asyncio.Semaphore(at_once)

    async def one(digest: str) -> None:
        async with gate:
            source, target = route.source.base_url, route.target.base_url
            await run_command("bash", "-c", PIPE, "pipe", source, target, TARGET, REPOSITORY, digest)

    async with asyncio.TaskGroup() as group:
        for digest, _ in route.loaded.blobs:
            group.create_task(one(digest))
    async with aiohttp.ClientSession(route.target.base_url) as session:
        await put_manifest(session, TARGET, route.loaded.manifest)


class Watch:
    """On a process, from here to where it is read."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        # proc(5): 5 resets the peak of memory to the current size.
        (self._process / "clear_refs").write_text("5")
        self._before = self._mib("VmRSS")
        self._began = self._cpu()

    def read(self) -> Effort:
        return Effort(self._before, self._mib("VmHWM"), self._cpu() - self._began)

    def _cpu(self) -> float:
        # proc(5): user and system time are the 14th and 15th field; the 2nd may hold blanks.
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _mib(self, name: str) -> float:
        for line in (self._process / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * KIB / MIB
        raise Failed(f"{self._process} has no {name}")
