"""A hostile case: its setup, what the client does, and the expected outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from app import errors
from app.oci.manifest import ImageManifest, Manifest
from app.registry.push.model import CopyChild, CopyTarget
from tests.support.hostile_servers import CANARIES, IMAGE, HostileServers, Origin, servers
from tests.support.images import make_index
from tests.support.registry_clients import push_one

Act = Callable[[HostileServers], Awaitable[object]]
Pins = Callable[[HostileServers], tuple[Origin, ...]]
Outcome = type[errors.BrokerError] | None


@dataclass(frozen=True, slots=True)
class Case:
    """`outcome` is the error that it must end with, None for success; `pins` is where secrets may come to."""

    name: str
    act: Act
    outcome: Outcome = errors.BrokerError
    tls: bool = False
    may_succeed: bool = False
    seconds: float = 10.0
    """What the client's patience is."""
    pins: Pins = lambda servers: (servers.registry,)


async def check_case(case: Case, directory: Path) -> None:
    """The case with both oracles; an error may not repeat a secret either."""
    async with servers(directory, tls=case.tls, seconds=case.seconds) as made:
        error = await _error_of(case, made)
        said = f"{type(error).__name__}: {error.detail} {error.members}" if error else ""
        if error is None:
            assert case.outcome is None or case.may_succeed, "it succeeded"
        else:
            assert case.outcome is not None, said
            assert isinstance(error, case.outcome), said
        assert not [canary for canary in CANARIES if canary in said]
        made.check(*case.pins(made))


async def _error_of(case: Case, made: HostileServers) -> errors.BrokerError | None:
    try:
        await case.act(made)
    except errors.BrokerError as error:
        return error
    return None


def parametrized(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """The cases, each a test of its own; no two have one name."""
    table = list(cases)
    assert len({case.name for case in table}) == len(table)
    return pytest.mark.parametrize("case", table, ids=[case.name for case in table])


async def fetch(servers: HostileServers) -> object:
    return await servers.client.fetch_manifest(servers.reference(), servers.access)


async def head(servers: HostileServers) -> object:
    return await servers.client.head_manifest(servers.reference(), servers.access)


async def fetch_config(servers: HostileServers) -> object:
    """The manifest is honest; what happens, happens to its config."""
    reference = servers.reference()
    found = (await servers.client.fetch_manifest(reference, servers.access)).manifest
    assert isinstance(found, ImageManifest)
    return await servers.client.fetch_image_config(reference.repository, found.config, servers.access)


async def put(servers: HostileServers) -> object:
    manifest = Manifest.of(IMAGE.media_type, IMAGE.raw)
    await servers.client.put_manifest(servers.reference("copy").repository, "1", manifest, servers.access)
    return None


async def copy(servers: HostileServers) -> object:
    """From a repository of the registry to another of its own, which mounts nothing."""
    source, target = servers.reference("app:1").repository, servers.reference("copy").repository
    found = (await servers.client.fetch_manifest(servers.reference(), servers.access)).manifest
    assert isinstance(found, ImageManifest)
    index = make_index([IMAGE], media="docker")
    child = CopyChild(source, found.manifest, found.copyable_blobs)
    goal = CopyTarget(target, ("1",), Manifest.of(index.media_type, index.raw))
    return await push_one(servers.client, goal, [child], servers.access)
