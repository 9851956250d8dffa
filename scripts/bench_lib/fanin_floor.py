"""The floor of a fan-in: a bare client that keeps nothing and checks nothing but statuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp

from scripts.bench_lib.fanin_legs import Fresh
from scripts.bench_lib.floor import ACCEPT, BAD_REQUEST
from scripts.bench_lib.scenario import Failed, TaggedManifest
from tests.support.images import Image


class Floor:
    """What the broker needs to ask for one list, in the order in which it can be asked at the earliest."""

    def __init__(self, session: aiohttp.ClientSession, fresh: Fresh, held: TaggedManifest) -> None:
        self._session = session
        self._fresh = fresh
        self._held = held
        self._root = f"/v2/{fresh.repository}"

    async def read(self, numbers: Iterable[int]) -> None:
        """Manifest and config of each leg, the legs side by side."""
        await asyncio.gather(*(self._leg(self._fresh.images[number]) for number in numbers))

    async def publish(self, numbers: Iterable[int]) -> None:
        """From the first request of the legs that come last to the answer to the index's PUT."""
        await self.read(numbers)
        looks = (self._look(image.digest) for image in self._fresh.images)
        await asyncio.gather(self._look(self._fresh.tag, is_new=True), *looks)
        await self._put()

    async def _leg(self, image: Image) -> None:
        for path in (f"manifests/{image.digest}", f"blobs/{image.config_digest}"):
            async with self._session.get(f"{self._root}/{path}", headers=ACCEPT) as reply:
                await reply.read()
            self._expect(reply)

    async def _look(self, target: str, *, is_new: bool = False) -> None:
        async with self._session.head(f"{self._root}/manifests/{target}", headers=ACCEPT) as reply:
            await reply.read()
        if not is_new:
            self._expect(reply)

    async def _put(self) -> None:
        headers = {"Content-Type": self._held.media_type}
        url = f"{self._root}/manifests/{self._fresh.tag}"
        async with self._session.put(url, data=self._held.raw, headers=headers) as reply:
            await reply.read()
        self._expect(reply)

    def _expect(self, reply: aiohttp.ClientResponse) -> None:
        if reply.status >= BAD_REQUEST:
            raise Failed(f"the floor was answered {reply.status} for {reply.method} {reply.url}")
