"""Copies of images with small and large blobs, and checks of their requests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from app.oci.reference import Repository
from app.registry.client import Limits, RegistryClient
from app.registry.push.model import (
    CopyResult,
    Step,
    StepName,
)
from tests.support.breaking_proxy import BreakingProxy
from tests.support.images import Image, make_image, plant
from tests.support.registry import (
    Fault,
    RegistryDouble,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    child_at,
    push_one,
    target_at,
)
from tests.support.registry_double.wire import Answer, Exchange

MIB = 1024 * 1024
LARGE_SIZE = 6 * MIB + 17
LARGE_IMAGE = make_image(layers=[LARGE_SIZE], seed="resume")
LARGE_LAYER = next(digest for digest, data in LARGE_IMAGE.blobs.items() if len(data) == LARGE_SIZE)
SMALL_IMAGE = make_image(layers=[1024], config=make_image().config.ljust(1024), seed="transfers")
MANY_LAYERS = make_image(layers=8)
UPLOAD = "/blobs/uploads/."


@dataclass(frozen=True, slots=True)
class Capacity(Fault):
    """Each request takes a while, and requests beyond the capacity are refused."""

    most: int
    here: list[Exchange] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    async def instead(self, exchange: Exchange) -> Answer | None:
        if len(self.here) >= self.most:
            return Answer(503, {}, b"busy")
        self.here.append(exchange)
        self.seen.append(len(self.here))
        try:
            await exchange.pause(0.2)
        finally:
            self.here.remove(exchange)
        return None


async def copy_small(
    source: RegistryDouble,
    target: RegistryDouble,
    image: Image = SMALL_IMAGE,
    *,
    limits: Limits = QUICK,
    path: str = "dst",
) -> None:
    plant(source, "src", "1", image)
    async with RegistryClient(LOOPBACK, limits=limits) as client, asyncio.timeout(120):
        await push_one(client, target_at(target, path, [image]), [child_at(source, "src", image)], INSECURE)


async def copy_large(source: RegistryDouble, target: RegistryDouble) -> tuple[CopyResult, list[Step]]:
    plant(source, "src", "1", LARGE_IMAGE)
    told: list[Step] = []
    async with RegistryClient(LOOPBACK, limits=QUICK) as client:
        goal, children = target_at(target, "dst", [LARGE_IMAGE]), [child_at(source, "src", LARGE_IMAGE)]
        result = await push_one(client, goal, children, INSECURE, told.append)
    return result, told


def ranges(source: RegistryDouble) -> list[str | None]:
    """The Range of each request for the layer."""
    return [r.headers.get("Range") for r in source.received("GET", LARGE_LAYER)]


def sent(double: RegistryDouble) -> int:
    """The bytes that the registry received in all uploads of the layer."""
    bodies = [r.body_size for r in double.received(path="/uploads/")]
    return sum(size for size in bodies if size > len(LARGE_IMAGE.config))


def check_truthful(told: list[Step]) -> None:
    """Check that progress never exceeds the total, never decreases, and ends complete."""
    blobs = [step for step in told if step.name is StepName.BLOBS]
    assert all(step.bytes_done <= step.bytes_total for step in blobs)
    assert [step.bytes_done for step in blobs] == sorted(step.bytes_done for step in blobs)
    assert blobs[-1].bytes_done == sum(map(len, LARGE_IMAGE.blobs.values()))


def check_arrived(double: RegistryDouble) -> None:
    assert double.blobs("dst") == set(LARGE_IMAGE.blobs)
    assert not double.partial_tag_puts


def across(line: BreakingProxy, path: str) -> Repository:
    return Repository(line.host, path)
