"""The one writer of lists: a saved change assesses the list once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from app.oci.index import build_index
from tests.support.broker import Broker
from tests.support.planted_images import plant_images, wait_until_held
from tests.support.registry import Hold, RegistryDouble

pytestmark = pytest.mark.slow


class Calls:
    """How often a function has been called."""

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def builds() -> Iterator[Calls]:
    """Count the indexes that this process builds during the block."""
    calls = Calls()

    def on_call(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is build_index.__code__:
            calls.count += 1

    before = sys.getprofile()
    sys.setprofile(on_call)
    try:
        yield calls
    finally:
        sys.setprofile(before)


async def test_each_leg_builds_the_index_once(broker: Broker, registry: RegistryDouble) -> None:
    # The push that the last leg starts assesses the list again when it ends, so it waits for the count.
    hold = Hold()
    registry.misbehave(hold, path="/app/")
    expected = ["linux/amd64", "linux/arm64", "linux/s390x"]
    for source in plant_images(registry, *expected):
        with builds() as calls:
            await broker.create(
                f"{registry.host}/app:1",
                source,
                amend=True,
                expected_platforms=expected,
                push_when_complete=True,
            )
        assert calls.count == 1
    await wait_until_held(hold)
    hold.gate.set()


async def test_a_change_of_a_pushed_list_builds_the_index_before_and_after(
    broker: Broker, registry: RegistryDouble
) -> None:
    amd64, arm64 = plant_images(registry, "linux/amd64", "linux/arm64")
    made = await broker.create(f"{registry.host}/app:1", amd64)
    await broker.push(made["id"])
    with builds() as calls:
        await broker.call("POST", f"/v1/lists/{made['id']}/entries", {"sources": [arm64], "insecure": True})
    assert calls.count == 2
