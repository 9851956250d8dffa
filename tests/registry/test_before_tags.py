"""What a push asks for before any tag moves, and how tags that are moved side by side end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from app import errors
from app.oci.digest import Digest
from app.registry.client import RegistryClient
from app.registry.copy import Finished, Step, StepName, TagAction, push
from tests.support.clients import INSECURE, LOOPBACK, QUICK, child_at, target_at
from tests.support.images import make_image, plant
from tests.support.registry import Hold, RegistryDouble, Status

IMAGE = make_image(seed="before tags")
OTHER = make_image(seed="other")
Held = Mapping[str, Digest | None]


def connect() -> RegistryClient:
    return RegistryClient(LOOPBACK, limits=QUICK)


@pytest.mark.parametrize("conditional", [False, True])
async def test_what_the_tags_hold_is_told_once_with_all_there_and_no_tag_moved(
    registry: RegistryDouble, conditional: bool
) -> None:
    plant(registry, "src", "1", IMAGE)
    plant(registry, "app", "old", OTHER)
    told: list[tuple[Held, list[str]]] = []

    async def before_tags(held: Held) -> None:
        told.append((held, [request.path for request in registry.received("PUT", "/manifests/")]))

    def condition(reference: str, held: Digest | None) -> None:
        return None

    async with connect() as client:
        result = await push(
            client,
            target_at(registry, "app", [IMAGE], tags=("old", "new")),
            [child_at(registry, "src", IMAGE)],
            INSECURE,
            condition=condition if conditional else None,
            before_tags=before_tags,
        )
    ((held, put),) = told
    assert {tag: str(digest) if digest else None for tag, digest in held.items()} == {
        "old": OTHER.digest,
        "new": None,
    }
    assert put == [f"/v2/app/manifests/{IMAGE.digest}"]
    assert result.previous == held


async def test_no_tag_moves_when_what_it_holds_can_not_be_kept(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", IMAGE)

    async def before_tags(held: Held) -> None:
        raise errors.Unavailable("The database is away")

    async with connect() as client:
        target, children = target_at(registry, "app", [IMAGE]), [child_at(registry, "src", IMAGE)]
        with pytest.raises(errors.Unavailable):
            await push(client, target, children, INSECURE, before_tags=before_tags)
    assert registry.tags("app") == {}


async def test_a_tag_that_fails_does_not_cut_off_the_others(registry: RegistryDouble) -> None:
    plant(registry, "src", "1", IMAGE)
    told: list[Step] = []
    hold = Hold()
    registry.misbehave(hold, method="PUT", path="/manifests/slow$")
    registry.misbehave(Status.oci(403, "DENIED"), method="PUT", path="/manifests/closed$", times=None)

    async with connect() as client:
        target = target_at(registry, "app", [IMAGE], tags=("closed", "slow"))
        pushing = asyncio.create_task(
            push(client, target, [child_at(registry, "src", IMAGE)], INSECURE, told.append)
        )
        await registry.until(lambda: bool(registry.received("GET", "/manifests/closed")))
        hold.gate.set()
        with pytest.raises(errors.RegistryDenied):
            await pushing
    assert registry.tags("app") == {"slow": str(target.index.digest)}
    last = {step.name: step for step in told}
    assert last[StepName.TAGS].finished == (Finished("slow", TagAction.MOVED),)
