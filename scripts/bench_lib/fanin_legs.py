"""Legs as docs/ci.md has them: images by digest in the target's repository, and a call for each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx2

from scripts.bench_lib.scenario import PLATFORMS, SEEDERS, TAG, Failed
from tests.support.images import Image, make_image_for, seed

LEGS = (*PLATFORMS, "windows/arm64", "freebsd/amd64", "freebsd/arm64", "netbsd/amd64")
OK, CREATED = 200, 201


@dataclass(frozen=True, slots=True)
class Fresh:
    """A repository of a round's own."""

    repository: str
    images: Sequence[Image]
    tag: str = TAG

    async def upload(self, base_url: str) -> None:
        """The images, by digest and past the slow proxy."""
        gate = asyncio.Semaphore(SEEDERS)

        async def one(client: httpx2.AsyncClient, image: Image) -> None:
            async with gate:
                await seed(base_url, self.repository, None, image, client=client)

        async with httpx2.AsyncClient(timeout=60) as client, asyncio.TaskGroup() as group:
            for image in self.images:
                group.create_task(one(client, image))


class Legs:
    """The calls of one session."""

    def __init__(self, service: aiohttp.ClientSession, fresh: Fresh, host: str) -> None:
        self._service = service
        self._fresh = fresh
        self._host = host

    async def hand_in(self, numbers: Iterable[int]) -> None:
        """All at once; where they complete the list, one of them waits until it is published."""
        answers = await asyncio.gather(*(self._post(number) for number in numbers))
        if any(answer["complete"] for answer in answers):
            await self._wait(answers[0]["id"])

    async def _post(self, number: int) -> dict[str, Any]:
        name, image = f"{self._host}/{self._fresh.repository}", self._fresh.images[number]
        body = {
            "reference": f"{name}:{self._fresh.tag}",
            "sources": [f"{name}@{image.digest}"],
            "session": "run-1",
            "amend": True,
            "insecure": True,
            "expected_platforms": LEGS[: len(self._fresh.images)],
            "push_when_complete": True,
        }
        async with self._service.post("/v1/lists", json=body, headers={"Prefer": "wait=60"}) as reply:
            if reply.status != CREATED:
                raise Failed(f"a leg was answered {reply.status}: {await reply.text()}")
            answer: dict[str, Any] = await reply.json()
            return answer

    async def _wait(self, list_id: str) -> None:
        path, headers = f"/v1/lists/{list_id}?wait_for=pushed", {"Prefer": "wait=60"}
        async with self._service.get(path, headers=headers) as reply:
            if reply.status != OK:
                raise Failed(f"the list was not published: {reply.status} {await reply.text()}")


def make_images(legs: int) -> list[Image]:
    return [make_image_for(platform, seed="fanin") for platform in LEGS[:legs]]
