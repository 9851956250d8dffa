"""What is measured: images in repositories of their own, to become one list in a new repository."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import httpx2

from scripts.fanin_lib.matrix import PLATFORMS as MATRIX
from tests.support.images import DOCKER_LIST, OCI_INDEX, Image, make_image, seed

# A list has one image for each platform, so these limit the number of images.
PLATFORMS = MATRIX[:16]
TAG = "1.2.3"
SEEDERS = 8
OK = 200


class Failed(Exception):
    """Something did not do what is measured; the message says what."""


@dataclass(frozen=True, slots=True)
class Round:
    """One create and push: how long each took."""

    create: float
    push: float

    @property
    def seconds(self) -> float:
        return self.create + self.push


@dataclass(frozen=True, slots=True)
class Source:
    """An image and the repository that holds it."""

    repository: str
    image: Image


@dataclass(frozen=True, slots=True)
class TaggedManifest:
    """What a tag gives to readers."""

    media_type: str
    raw: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """The sources of every round; only the target is another one each time."""

    sources: Sequence[Source]

    def fresh_target(self, who: str) -> str:
        return f"targets/{who}-{uuid4().hex}"

    def references(self, host: str) -> list[str]:
        return [f"{host}/{source.repository}:{TAG}" for source in self.sources]


def make_scenario(images: int, layers: int) -> Scenario:
    return Scenario(tuple(_make_source(number, layers) for number in range(images)))


def _make_source(number: int, layers: int) -> Source:
    os, architecture, *variant = PLATFORMS[number].split("/")
    image = make_image(
        os=os,
        architecture=architecture,
        variant="".join(variant) or None,
        layers=layers,
        seed=f"bench {number}",
    )
    return Source(f"sources/app-{number:02}", image)


async def upload(scenario: Scenario, base_url: str) -> None:
    """The sources into the registry, past the slow proxy."""
    gate = asyncio.Semaphore(SEEDERS)

    async def one(client: httpx2.AsyncClient, source: Source) -> None:
        async with gate:
            await seed(base_url, source.repository, TAG, source.image, client=client)

    async with httpx2.AsyncClient(timeout=60) as client, asyncio.TaskGroup() as group:
        for source in scenario.sources:
            group.create_task(one(client, source))


async def read_back(base_url: str, repository: str) -> TaggedManifest:
    """What is under the tag now, read past the slow proxy."""
    url = f"{base_url}/v2/{repository}/manifests/{TAG}"
    async with httpx2.AsyncClient(timeout=60) as client:
        reply = await client.get(url, headers={"Accept": f"{DOCKER_LIST}, {OCI_INDEX}"})
    if reply.status_code != OK:
        raise Failed(f"{repository}:{TAG} can't be read back: {reply.status_code} {reply.text}")
    return TaggedManifest(
        reply.headers["Content-Type"], reply.content, reply.headers["Docker-Content-Digest"]
    )
