"""Many sessions, all legs of each at once: every one must publish its own list, whole and once."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from scripts.fanin_lib.calls import Apis, Json, gather_all
from scripts.fanin_lib.matrix import PLATFORMS, Matrix, make_matrix
from tests.support.images import plant
from tests.support.registry import RegistryDouble

REPOSITORY = "app"
# The number of sets of images. Sessions with the same set must get the same digest, in any order.
MATRICES = 5
REPEATED = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    sessions: int
    seed: int
    at_once: int = 20
    legs: int = len(PLATFORMS)


@dataclass(slots=True)
class Tally:
    """What came of it; `wrong` says each thing that is not as it must be."""

    sessions: int = 0
    legs: int = 0
    pushes: int = 0
    digests: int = 0
    requests: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.sessions} sessions, {self.legs} calls of legs, {self.pushes} pushes, "
            f"{self.digests} digests, {self.requests} requests to the registry, {self.seconds:.1f} s "
            f"({self.legs / self.seconds:.0f} calls a second), {len(self.wrong)} wrong"
        )


async def run_sessions(plan: Plan, apis: Apis, registry: RegistryDouble) -> Tally:
    run = _Run(plan, apis, registry)
    began = time.monotonic()
    gate = asyncio.Semaphore(plan.at_once)

    async def one(number: int) -> None:
        async with gate:
            await run.session(number)

    await gather_all([one(number) for number in range(plan.sessions)])
    run.tally.seconds = time.monotonic() - began
    await run.check_all()
    return run.tally


class _Run:
    def __init__(self, plan: Plan, apis: Apis, registry: RegistryDouble) -> None:
        self._plan = plan
        self._apis = apis
        self._registry = registry
        self._dice = random.Random(plan.seed)
        self._matrices = [make_matrix(f"{plan.seed}/{number}", plan.legs) for number in range(MATRICES)]
        for matrix in self._matrices:
            for image in matrix.images:
                plant(registry, REPOSITORY, None, image)
        self.tally = Tally()

    async def session(self, number: int) -> None:
        matrix = self._matrices[number % MATRICES]
        bodies = leg_bodies(self._registry.host, tag_of(number), session_of(number), matrix)
        # A leg whose answer is lost repeats its call.
        bodies += [body for body in bodies if self._dice.random() < REPEATED]
        self._dice.shuffle(bodies)
        answers = await gather_all([self._apis.hand_in(body) for body in bodies])
        self.tally.sessions += 1
        self.tally.legs += len(bodies)
        operations = {answer["push_operation_id"] for answer in answers} - {None}
        if len(operations) != 1:
            self._wrong(number, f"{len(operations)} pushes are named by its legs' answers")
            return
        ended = await self._apis.ended(operations.pop())
        if ended["state"] != "succeeded":
            self._wrong(number, f"the push {ended['state']}: {ended['problem']}")
            return
        await self._check(number, matrix, answers[0]["id"])

    async def _check(self, number: int, matrix: Matrix, list_id: str) -> None:
        found = await self._apis.get(f"/v1/lists/{list_id}")
        if (found["state"], found["digest"], len(found["entries"])) != (
            "pushed",
            matrix.digest,
            len(matrix.images),
        ):
            self._wrong(number, f"its list is {found['state']} with {len(found['entries'])} entries")
        _, raw = self._registry.get_manifest(REPOSITORY, tag_of(number))
        if raw != matrix.index:
            listed = len(json.loads(raw)["manifests"])
            self._wrong(number, f"its tag holds {listed} images, and not the bytes that they make")

    async def check_all(self) -> None:
        """What only all of it together shows: the history of pushes, and what the registry received."""
        pushes = [push async for push in self._apis.pages("/v1/pushes")]
        self.tally.pushes = len(pushes)
        self.tally.digests = len({push["digest"] for push in pushes})
        self.tally.requests = len(self._registry.journal)
        by_session = Counter(push["session"] for push in pushes)
        by_tag = Counter(put.tag for put in self._registry.tag_puts)
        for number in range(self._plan.sessions):
            if by_session[session_of(number)] != 1:
                self._wrong(number, f"{by_session[session_of(number)]} pushes are in the history")
            if by_tag[tag_of(number)] != 1:
                self._wrong(number, f"its tag was put {by_tag[tag_of(number)]} times")
        self.tally.wrong += [f"{put} was partial" for put in self._registry.partial_tag_puts]

    def _wrong(self, number: int, what: str) -> None:
        self.tally.wrong.append(f"session {number}: {what}")


def session_of(number: int) -> str:
    return f"run-{number}"


def tag_of(number: int) -> str:
    return f"t{number}"


def leg_bodies(host: str, tag: str, session: str, matrix: Matrix, **more: object) -> list[Json]:
    """What each leg sends, as docs/ci.md has it: its image by digest, and what the whole is to be."""
    repository = f"{host}/{REPOSITORY}"
    return [
        {
            "reference": f"{repository}:{tag}",
            "sources": [f"{repository}@{image.digest}"],
            "session": session,
            "amend": True,
            "insecure": True,
            "expected_platforms": list(matrix.platforms),
            "push_when_complete": True,
            **more,
        }
        for image in matrix.images
    ]


def digests_put(registry: RegistryDouble, tag: str) -> Sequence[str]:
    """What a tag has held, one after the other."""
    return [put.digest for put in registry.tag_puts if put.tag == tag and put.accepted]
