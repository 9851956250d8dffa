"""Registry clients for tests: they give up quickly and may reach this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from app.oci.descriptor import Descriptor
from app.oci.digest import digest_of
from app.oci.manifest import Manifest, parse_manifest
from app.oci.reference import Reference, Repository, parse_reference
from app.registry.client import (
    Access,
    Credential,
    Keychain,
    Limits,
    RegistryClient,
    RegistryPolicy,
)
from app.registry.push.model import CopyChild, CopyResult, CopyTarget, Guard, Step
from app.registry.push.push import push
from tests.support.docker_registry import DockerRegistry
from tests.support.images import Image, make_index
from tests.support.registry import (
    RegistryDouble,
)

AnyRegistry = RegistryDouble | DockerRegistry

LOOPBACK = RegistryPolicy.parse(allow_loopback=True)
QUICK = Limits(
    attempts=3,
    backoff_seconds=0.01,
    longest_backoff_seconds=0.02,
    shortest_asked_seconds=0.01,
    settle_seconds=0.01,
    longest_settle_seconds=0.02,
    lag_seconds=0.01,
    longest_lag_seconds=0.02,
    connect_seconds=5.0,
    call_seconds=20.0,
    stall_seconds=20.0,
)
INSECURE = Access(insecure=True)


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def pass_by(self, seconds: float) -> None:
        self.time += seconds


def connect(
    limits: Limits = QUICK, *, policy: RegistryPolicy = LOOPBACK, now: Callable[[], float] = time.monotonic
) -> RegistryClient:
    return RegistryClient(policy, limits=limits, now=now)


def signed_in(host: str, credential: Credential, *, insecure: bool = True, tenant: str = "") -> Access:
    return Access(Keychain(own={host: credential}), insecure=insecure, tenant=tenant)


def reference_at(registry: AnyRegistry, rest: str) -> Reference:
    return parse_reference(f"{registry.host}/{rest}")


def repository_at(registry: AnyRegistry, path: str) -> Repository:
    return Repository(registry.host, path)


def manifest_of(image: Image) -> Manifest:
    return Manifest.of(image.media_type, image.raw)


def child_at(registry: AnyRegistry, path: str, image: Image) -> CopyChild:
    parsed = parse_manifest(image.raw, image.media_type)
    blobs = getattr(parsed, "copyable_blobs", ())
    return CopyChild(repository_at(registry, path), manifest_of(image), blobs)


def target_at(
    registry: AnyRegistry, path: str, images: list[Image], *, tags: tuple[str, ...] = ("1",)
) -> CopyTarget:
    index = make_index(images, media="docker")
    return CopyTarget(repository_at(registry, path), tags, Manifest.of(index.media_type, index.raw))


def config_of(image: Image) -> Descriptor:
    return Descriptor("application/json", digest_of(image.config), len(image.config))


async def push_one(
    client: RegistryClient,
    target: CopyTarget,
    children: Sequence[CopyChild],
    access: Access,
    on_step: Callable[[Step], object] = lambda _: None,
    *,
    guard: Guard | None = None,
    with_referrers: bool = False,
    allow_unverified: bool = False,
    origins: Sequence[Reference] = (),
) -> CopyResult:
    """A push to a single target."""

    def on_progress(_: Repository, step: Step) -> None:
        on_step(step)

    (result,) = await push(
        client,
        [target],
        children,
        access,
        on_progress,
        guard=guard,
        with_referrers=with_referrers,
        allow_unverified=allow_unverified,
        origins=origins,
    )
    return result


async def until(happens: Callable[[], bool]) -> None:
    """Wait for what other tasks will make true; fails where they don't."""
    async with asyncio.timeout(120):
        while not happens():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def quiet(double: RegistryDouble, before: set[asyncio.Task[object]]) -> None:
    """Wait until no request is in flight and all tasks that the client has started since have ended."""
    await until(lambda: not double.log.in_flight and not any(map(_is_ours, asyncio.all_tasks() - before)))


def _is_ours(task: asyncio.Task[object]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and "/app/" in code.co_filename


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A port of this machine at which anything at all may be said."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
