"""Images for the tests of pushes, and checks of a whole target."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace

from app import errors
from app.oci.reference import Reference
from app.registry.push.model import (
    CopyChild,
    CopyTarget,
    Guard,
    TagSnapshot,
)
from tests.support.images import Image, make_image, seed
from tests.support.registry import (
    RegistryDouble,
    Status,
)
from tests.support.registry_clients import (
    INSECURE,
    QUICK,
    AnyRegistry,
    child_at,
    connect,
    reference_at,
)

AMD64 = make_image(architecture="amd64", seed="copy")
ARM64 = make_image(architecture="arm64", seed="copy")
BOTH = [AMD64, ARM64]
# No fault can spoil the digest of no bytes at all.
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
LARGE = make_image(layers=[3 * 1024 * 1024 + 17, 0, 1], seed="large")


def requests_of(double: RegistryDouble) -> list[tuple[str, str]]:
    """The method and the last part of the path of each request."""
    return [(r.method, r.path.rsplit("/", 1)[1]) for r in double.journal if r.path != "/v2/"]


async def plant_apart(registry: AnyRegistry, images: list[Image]) -> tuple[list[CopyChild], str]:
    """Plant each image in a repository of its own; return the children and the path of a target."""
    run = uuid.uuid4().hex
    children = []
    for number, image in enumerate(images):
        await seed(registry, f"copy/{run}/src{number}", "1", image)
        children.append(child_at(registry, f"copy/{run}/src{number}", image))
    return children, f"copy/{run}/dst"


async def check_whole(registry: AnyRegistry, target: CopyTarget, images: list[Image]) -> None:
    """Check that every tag, manifest and blob can be fetched from the target."""
    async with connect() as client:
        path = target.repository.path
        for tag in target.tags:
            fetched = await client.fetch_manifest(reference_at(registry, f"{path}:{tag}"), INSECURE)
            assert fetched.raw == target.index
        for image in images:
            await client.fetch_manifest(reference_at(registry, f"{path}@{image.digest}"), INSECURE)
            for blob in child_at(registry, path, image).blobs:
                assert len(await client.fetch_config(target.repository, blob, INSECURE)) == blob.size


STAGED = make_image(seed="staging", layers=3)
OTHER = make_image(seed="other")
DENIED = Status.oci(403, "DENIED")
SETTLING = replace(QUICK, settle_attempts=4)


class RecordingGuard:
    """A guard that records the snapshots it gets, and leaves the given tags."""

    def __init__(
        self,
        *left: Reference,
        refuses: bool = False,
        is_strict: bool = False,
        doubles: Sequence[RegistryDouble] = (),
    ) -> None:
        self.left = left
        self.doubles = doubles
        self.tag_puts: list[int] = []
        self.refuses = refuses
        self.told: list[TagSnapshot] = []
        self.guard = Guard(self._ask, is_strict=is_strict)

    async def _ask(self, held: TagSnapshot) -> Collection[Reference]:
        self.told.append(held)
        self.tag_puts = [len(double.tag_puts) for double in self.doubles]
        if self.refuses:
            raise errors.TagMoved("it holds something else")
        return self.left


def last_requests(double: RegistryDouble, count: int) -> list[tuple[str, str]]:
    return [(r.method, r.path.rsplit("/", 1)[1]) for r in double.journal[-count:]]


def puts_of(double: RegistryDouble, digest: str) -> int:
    return len(double.received("PUT", f"/manifests/{digest}"))
