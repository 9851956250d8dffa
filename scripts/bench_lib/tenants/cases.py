"""What a hostile project does in each case, and the call of another project that it is to delay."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from scripts.bench_lib.scenario import TAG, Failed, Scenario
from scripts.bench_lib.service import CREATED, OK
from scripts.bench_lib.tenants.registries import (
    CLOSED,
    DRIPPING,
    hostile_registries,
    partly_closed,
)

Json = dict[str, Any]
ACCEPTED, CONFLICT, TOO_MANY = 202, 409, 429
RELEASE = "team/release"
# Longer than anything that is measured should take.
PATIENCE = {"Prefer": "wait=60"}
AT_ONCE = {"Prefer": "respond-async"}
STORM, DRIPPING_REGISTRIES, INSPECTORS = 150, 125, 8
BREAK_SECONDS, AGAIN_SECONDS = 0.2, 30.0


class Project:
    """The calls of one project, and how often each status was the answer."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.answers: Counter[int] = Counter()

    async def create(self, reference: str, sources: Sequence[str], by: str) -> str:
        """A list that other annotations make different from all others."""
        body = {
            "reference": reference,
            "sources": list(sources),
            "session": by,
            "annotations": {"by": by},
            "format": "oci",
            "insecure": True,
        }
        status, made = await self._call("POST", "/v1/lists", body, PATIENCE)
        if status != CREATED:
            raise Failed(f"a list could not be created: {status} {made}")
        return str(made["id"])

    async def push(self, list_id: str, headers: dict[str, str], *targets: str) -> int:
        body = {"insecure": True, "targets": list(targets)}
        return (await self._call("POST", f"/v1/lists/{list_id}/push", body, headers))[0]

    async def inspect(self, reference: str) -> int:
        body = {"references": [reference], "insecure": True}
        return (await self._call("POST", "/v1/inspections", body, PATIENCE))[0]

    async def _call(self, method: str, path: str, body: Json, headers: dict[str, str]) -> tuple[int, Json]:
        async with self._session.request(method, path, json=body, headers=headers) as reply:
            self.answers[reply.status] += 1
            return reply.status, await reply.json()


class Case(ABC):
    """One way to delay others; `registry` is the one that both projects use."""

    name: str

    def __init__(self, registry: str, scenario: Scenario) -> None:
        self.registry = registry
        self.sources = scenario.references(registry)

    @asynccontextmanager
    async def ready(self, ours: Project, theirs: Project) -> AsyncIterator[None]:
        """Prepare both projects."""
        self.ours, self.theirs = ours, theirs
        release = f"{self.registry}/{RELEASE}:{TAG}"
        self.our_lists = [await ours.create(release, self.sources, f"ours-{nth}") for nth in range(2)]
        self._pushed = 0
        yield

    async def delay(self) -> None:
        """The call whose time counts: a push of the release, to another content each time."""
        self._pushed += 1
        status = await self.ours.push(self.our_lists[self._pushed % 2], PATIENCE)
        # Of two projects that push one tag, the one that was accepted later wins. A push that is not done in
        # time has waited for all of that.
        if status not in {OK, CONFLICT, ACCEPTED}:
            raise Failed(f"a push ended with {status}")

    @abstractmethod
    async def worst(self) -> None:
        """What the other project does, until it is cancelled."""


class ParkedPush(Case):
    """The other project's push of the release waits for a registry of its own."""

    name = "1. a parked push of the tag"

    @asynccontextmanager
    async def ready(self, ours: Project, theirs: Project) -> AsyncIterator[None]:
        async with super().ready(ours, theirs), hostile_registries(1) as hosts:
            self._target = f"{hosts[0]}/{CLOSED}:{TAG}"
            self._list = await theirs.create(f"{self.registry}/{RELEASE}:{TAG}", self.sources, "theirs")
            yield

    async def worst(self) -> None:
        while True:
            status = await self.theirs.push(self._list, AT_ONCE, self._target)
            await asyncio.sleep(BREAK_SECONDS if status == ACCEPTED else 1)


class Storm(Case):
    """The other project always has as many pushes of the release as it may have."""

    name = f"1. {STORM} pushes of the tag"

    @asynccontextmanager
    async def ready(self, ours: Project, theirs: Project) -> AsyncIterator[None]:
        async with super().ready(ours, theirs):
            release = f"{self.registry}/{RELEASE}:{TAG}"
            self._lists = [await theirs.create(release, self.sources, f"theirs-{nth}") for nth in range(2)]
            yield

    async def worst(self) -> None:
        pushed = 0
        while True:
            for _ in range(STORM):
                pushed += 1
                if await self.theirs.push(self._lists[pushed % 2], AT_ONCE) == TOO_MANY:
                    break
            await asyncio.sleep(BREAK_SECONDS)


class Dripping(Case):
    """The other project copies from many registries, each of which sends twenty kilobytes a second."""

    name = f"2. pushes from {DRIPPING_REGISTRIES} registries that drip"

    @asynccontextmanager
    async def ready(self, ours: Project, theirs: Project) -> AsyncIterator[None]:
        registry = self.registry
        async with super().ready(ours, theirs), hostile_registries(DRIPPING_REGISTRIES) as hosts:
            self._lists = [
                await theirs.create(f"{registry}/dripped/{nth}:{TAG}", [f"{host}/{DRIPPING}:1"], "theirs")
                for nth, host in enumerate(hosts)
            ]
            yield

    async def delay(self) -> None:
        status = await self.ours.inspect(self.sources[0])
        if status not in {OK, ACCEPTED}:
            raise Failed(f"an inspection ended with {status}")

    async def worst(self) -> None:
        while True:
            # What has begun lasts longer than this; more of it waits.
            for each in self._lists:
                await self.theirs.push(each, AT_ONCE)
            await asyncio.sleep(AGAIN_SECONDS)


class ClosedPath(Case):
    """One repository of the registry answers 503, and asks for a pause of five minutes."""

    name = "3. a path that answers 503"

    def __init__(self, registry: str, scenario: Scenario) -> None:
        super().__init__(registry, scenario)
        self._upstream, self._scenario = registry, scenario

    @asynccontextmanager
    async def ready(self, ours: Project, theirs: Project) -> AsyncIterator[None]:
        async with partly_closed(self._upstream) as front:
            self.registry, self.sources = front, self._scenario.references(front)
            async with super().ready(ours, theirs):
                yield

    async def worst(self) -> None:
        async def inspect() -> None:
            while True:
                await self.theirs.inspect(f"{self.registry}/{CLOSED}:{TAG}")
                await asyncio.sleep(BREAK_SECONDS)

        async with asyncio.TaskGroup() as group:
            for _ in range(INSPECTORS):
                group.create_task(inspect())


CASES: Sequence[type[Case]] = (ParkedPush, Storm, Dripping, ClosedPath)
