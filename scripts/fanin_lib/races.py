"""Two sessions for one tag at the same time: their images never mix, and the newer one's list stays."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from scripts.fanin_lib.calls import Apis, Json, gather_all
from scripts.fanin_lib.matrix import Matrix, make_matrix
from scripts.fanin_lib.sessions import REPOSITORY, digests_put, leg_bodies
from tests.support.images import plant
from tests.support.registry import RegistryDouble

BOTH = 2
SPREAD_SECONDS = 0.15
SUPERSEDED = "urn:manifest-broker:problem:superseded"


@dataclass(slots=True)
class Races:
    """How they ended; `late` are those whose older session was done last, and refused."""

    races: int = 0
    late: int = 0
    one_after_the_other: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.races} races: in {self.one_after_the_other} the older list was replaced by the newer, "
            f"in {self.late} the older came too late and was refused; {len(self.wrong)} wrong"
        )


@dataclass(slots=True)
class Side:
    """One of the two: its images, the number of its run if it says one, and what came of it."""

    session: str
    matrix: Matrix
    run_number: int | None = None
    found: Json = field(default_factory=dict)
    push: Json = field(default_factory=dict)

    @property
    def place(self) -> tuple[int, str]:
        """The later, the newer: by the runs' numbers, or else by when the lists were created."""
        return (self.run_number or 0, self.found["created_at"])


async def run_races(
    count: int, seed: int, apis: Apis, registry: RegistryDouble, *, legs: int = 6, at_once: int = 8
) -> Races:
    tally, gate = Races(), asyncio.Semaphore(at_once)
    matrices = {name: make_matrix(f"{seed}/{name}", legs) for name in ("a", "b")}
    for matrix in matrices.values():
        for image in matrix.images:
            plant(registry, REPOSITORY, None, image)

    async def one(number: int) -> None:
        dice = random.Random(f"{seed}/{number}")
        sides = [Side(name, matrix) for name, matrix in matrices.items()]
        if number % 2:
            for side, run_number in zip(sides, dice.sample(range(1, 100), 2), strict=True):
                side.run_number = run_number
        async with gate:
            await _race(f"r{number}", sides, dice, apis, registry.host)
        _judge(tally, f"r{number}", sides, registry)

    await gather_all([one(number) for number in range(count)])
    tally.wrong += [f"{put} was partial" for put in registry.partial_tag_puts]
    return tally


async def _race(tag: str, sides: list[Side], dice: random.Random, apis: Apis, host: str) -> None:
    async def leg(side: Side, body: Json, delay: float) -> None:
        await asyncio.sleep(delay)
        side.found = await apis.hand_in(body)

    async def finish(side: Side) -> None:
        side.found = await apis.get(f"/v1/lists/{side.found['id']}")
        side.push = await apis.ended(side.found["push_operation_id"])

    legs = []
    for side in sides:
        more = {} if side.run_number is None else {"run_number": side.run_number}
        bodies = leg_bodies(host, tag, f"{tag}-{side.session}", side.matrix, **more)
        legs += [leg(side, body, dice.random() * SPREAD_SECONDS) for body in bodies]
    await gather_all(legs)
    await gather_all([finish(side) for side in sides])


def _judge(tally: Races, tag: str, sides: list[Side], registry: RegistryDouble) -> None:
    older, newer = sorted(sides, key=lambda side: side.place)
    puts = digests_put(registry, tag)
    tally.races += 1
    tally.one_after_the_other += len(puts) == BOTH
    tally.late += (older.push["problem"] or {}).get("type") == SUPERSEDED
    for side in sides:
        listed = {entry["descriptor"]["digest"] for entry in side.found["entries"]}
        if listed != {image.digest for image in side.matrix.images}:
            tally.wrong.append(f"{tag}: the list of {side.session} holds others' images")
    if newer.push["state"] != "succeeded":
        tally.wrong.append(f"{tag}: the newer push {newer.push['state']}: {newer.push['problem']}")
    if puts not in ([newer.matrix.digest], [older.matrix.digest, newer.matrix.digest]):
        names = {side.matrix.digest: side.session for side in sides}
        held = [names.get(digest, digest) for digest in puts]
        tally.wrong.append(f"{tag}: its tag held {held}, and {newer.session} is the newer")
