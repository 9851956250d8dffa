"""Each fault of real registries, met by the real client, has the outcome that the table names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from app import errors
from app.registry.client import RegistryClient
from app.registry.push.model import CopyChild
from tests.support.fault_table import CASES, ONE_WAY, ROWS
from tests.support.fault_table.case import IMAGES, USERS, Act, Case, Scene
from tests.support.fault_table.report import FAULT
from tests.support.images import plant
from tests.support.registry import RegistryDouble
from tests.support.registry_clients import LOOPBACK, QUICK, child_at, push_one, reference_at, repository_at


@asynccontextmanager
async def arranged(case: Case) -> AsyncIterator[Scene]:
    """The registries with the content that the act needs, and with the fault."""
    async with RegistryDouble(users=USERS, **case.double) as registry, RegistryDouble() as elsewhere:
        scene = Scene(registry, elsewhere if case.act is Act.COPY else registry)
        for number, image in enumerate(IMAGES):
            plant(scene.source, f"src{number}", "1", image)
            if case.act is Act.OWN:
                plant(registry, "app", None, image)
        case.arrange(scene)
        yield scene


async def act(case: Case, scene: Scene, client: RegistryClient) -> object:
    match case.act:
        case Act.FETCH:
            fetched = await client.fetch_manifest(reference_at(scene.registry, "src0:1"), scene.access)
            assert fetched.raw.raw == IMAGES[0].raw
            config = child_at(scene.registry, "src0", IMAGES[0]).blobs[0]
            repository = repository_at(scene.registry, "src0")
            assert await client.fetch_config(repository, config, scene.access) == IMAGES[0].config
            return fetched
        case Act.HEAD:
            found = await client.head_manifest(reference_at(scene.registry, "src0:1"), scene.access)
            assert found is not None
            assert str(found.digest) == IMAGES[0].digest
            return found
        case Act.PUSH | Act.COPY | Act.OWN:
            return await push_one(client, scene.target, list(children(case, scene)), scene.access)


def children(case: Case, scene: Scene) -> list[CopyChild]:
    return [
        child_at(scene.source, "app" if case.act is Act.OWN else f"src{number}", image)
        for number, image in enumerate(IMAGES)
    ]


def check_whole(scene: Scene) -> None:
    """Check that the tag leads to the index, byte for byte, and that everything it lists is present."""
    held = scene.registry.content.at("app")
    digest, stored = held.find_manifest("1") or ("", None)
    assert digest == str(scene.index.digest)
    assert stored is not None
    assert stored.raw == scene.index.raw
    assert not held.missing(stored)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row} | {case.does} | {case.ends}")
async def test_a_fault_of_real_registries(case: Case, record_property: Callable[[str, object], None]) -> None:
    record_property(FAULT, [case.row, case.does, case.ends])
    limits = replace(QUICK, call_seconds=case.call_seconds, chunk_bytes=case.chunk_bytes)
    async with arranged(case) as scene, RegistryClient(LOOPBACK, limits=limits) as client:
        if case.comes is None:
            scene.outcome = await act(case, scene, client)
            if case.act in {Act.PUSH, Act.COPY, Act.OWN}:
                check_whole(scene)
        else:
            with pytest.raises(errors.BrokerError) as caught:
                await act(case, scene, client)
            scene.outcome = caught.value
            assert type(caught.value) is case.comes, caught.value.detail
        assert case.proves(scene)
        assert not [put for put in scene.registry.partial_tag_puts if put.accepted]


def test_no_row_is_missing_and_each_is_seen_to_succeed_and_to_fail() -> None:
    seen = {(case.row, case.comes is None) for case in CASES}
    assert seen | set(ONE_WAY) == {(row, succeeds) for row in ROWS for succeeds in (True, False)}
    assert not seen & set(ONE_WAY)
