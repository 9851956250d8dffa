"""Registries that take only so many blobs at once: those too many wait for their turn."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.registry.client import RegistryClient
from tests.support.images import make_image, plant
from tests.support.registry import Fault, RegistryDouble
from tests.support.registry_clients import INSECURE, LOOPBACK, QUICK, child_at, push_one, target_at
from tests.support.registry_double.wire import Answer, Exchange

IMAGE = make_image(layers=8)


@dataclass(frozen=True, slots=True)
class Capacity(Fault):
    """Each takes a while, and whoever comes while so many are there is turned away."""

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


async def test_a_registry_that_takes_fewer_uploads_at_once_than_it_is_sent_gets_all_of_them(
    registry: RegistryDouble,
) -> None:
    capacity = Capacity(4)
    async with RegistryDouble() as source, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(source, "src", "1", IMAGE)
        registry.misbehave(capacity, method="PUT", path="/blobs/uploads/", times=None)
        result = await push_one(
            client, target_at(registry, "app", [IMAGE]), [child_at(source, "src", IMAGE)], INSECURE
        )
    assert result.blobs.copied == len(IMAGE.blobs)
    assert max(capacity.seen) == capacity.most


async def test_a_source_that_serves_fewer_blobs_at_once_than_it_is_asked_for_serves_all_of_them(
    registry: RegistryDouble,
) -> None:
    capacity = Capacity(4)
    async with RegistryDouble() as source, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(source, "src", "1", IMAGE)
        source.misbehave(capacity, method="GET", path="/blobs/", times=None)
        result = await push_one(
            client, target_at(registry, "app", [IMAGE]), [child_at(source, "src", IMAGE)], INSECURE
        )
    assert result.blobs.copied == len(IMAGE.blobs)
    assert max(capacity.seen) == capacity.most
