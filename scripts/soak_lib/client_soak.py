"""Pushes many lists through registries that fail at random, by a seed, and counts the outcomes."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiohttp import web

from app import errors
from app.operations.retries import GiveUp, RetryPolicy, decide
from app.registry.client import Access, Credential, Keychain, Limits, RegistryClient
from app.registry.push.model import CopyTarget
from app.wiring import PROMPT, PUSH
from tests.support.images import Image, make_image, plant
from tests.support.registry import (
    ExpiredToken,
    Fault,
    LostReply,
    Received,
    RegistryDouble,
    Reset,
    Rule,
    Status,
    Truncated,
)
from tests.support.registry_clients import LOOPBACK, child_at, push_one, target_at
from tests.support.registry_double.journal import Journal

__all__ = ["REPOSITORIES", "USERS", "Soak", "Tally", "failing_registries", "lots", "operate", "pool", "soak"]

Work = Callable[[], Awaitable[object]]

USERS = {"user": "canary-5ecret"}
ARCHITECTURES = ("amd64", "arm64", "s390x", "ppc64le")
POOL, REPOSITORIES = 12, 100
# Each kind is equally likely, and so is each form within a kind.
FAULTS: tuple[tuple[Fault, ...], ...] = (
    (Reset(),),
    (Truncated(), Truncated(with_length=False)),
    (Status(429), Status(429, headers={"Retry-After": "0.05"}), Status.oci(429, "X", "retry-after: 12.5ms")),
    (Status(500),),
    (Status(503), Status(503, headers={"Retry-After": "0"})),
    (LostReply(),),
    (ExpiredToken(),),
)


@dataclass(slots=True)
class Chaos(Rule):
    """Strikes each request with the same probability, with a fault drawn by lot."""

    def strikes(self, request: web.BaseRequest) -> bool:
        if self.dice.random() >= (self.probability or 0):
            return False
        # A token service has no token that could expire.
        kinds = FAULTS[:-1] if request.path == "/token" else FAULTS
        self.fault = self.dice.choice(self.dice.choice(kinds))
        self.hits += 1
        return True


@dataclass(slots=True)
class Count(Journal):
    """Of all requests: kept, so many would make Python's search for garbage a matter of seconds."""

    total: int = 0

    def enter(self, received: Received) -> None:
        Journal.enter(self, received)
        self.requests.clear()
        self.total += 1


@dataclass(frozen=True, slots=True)
class Soak:
    """So many pushes at this rate of faults; the same seed gives the same lists and the same dice."""

    pushes: int
    rate: float
    seed: int
    limits: Limits = field(default_factory=Limits)
    policy: RetryPolicy = PUSH
    prompt: RetryPolicy = PROMPT
    side_by_side: int = 16


@dataclass(slots=True)
class Tally:
    """What came of it; `wrong` are successes whose tag, bytes or children are not what was pushed.

    `repeats` are requests that a caller had to make again, since what it asked for had failed for now.
    """

    succeeded: int = 0
    wrong: int = 0
    partial: int = 0
    requests: int = 0
    faults: int = 0
    attempts: int = 0
    repeats: int = 0
    seconds: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        failures = ", ".join(f"{count} {code}" for code, count in self.failures.items()) or "none"
        return (
            f"succeeded {self.succeeded}, wrong {self.wrong}, partial {self.partial}, failures: {failures}; "
            f"{self.requests} requests, {self.faults} faults, {self.attempts} attempts, "
            f"{self.repeats} repeats, {self.seconds:.1f} s"
        )


async def soak(plan: Soak) -> Tally:
    """Half of the lists have their images on the registry that they are pushed to, half on another."""
    tally = Tally()
    async with (
        failing_registries(plan, tally) as doubles,
        RegistryClient(LOOPBACK, limits=plan.limits) as client,
    ):
        await _push_all(plan, client, doubles, tally)
    return tally


@asynccontextmanager
async def failing_registries(plan: Soak, tally: Tally) -> AsyncIterator[list[RegistryDouble]]:
    """Two registries with all images; what they saw by the end of the block is counted."""
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        doubles = [
            await stack.enter_async_context(RegistryDouble(auth="bearer", users=USERS)) for _ in range(2)
        ]
        chaos = [Chaos(Reset(), probability=plan.rate, dice=random.Random(plan.seed + n)) for n in range(2)]
        counts = [Count() for _ in doubles]
        for double, rule, count in zip(doubles, chaos, counts, strict=True):
            for name, images in pool(plan.seed).items():
                for number, image in enumerate(images):
                    plant(double, f"src/{name}{number}", "1", image)
            double.misbehaviour.append(rule)
            double.log = count
        yield doubles
        tally.requests = sum(count.total for count in counts)
        tally.partial = sum(len(double.partial_tag_puts) for double in doubles)
        tally.faults = sum(rule.hits for rule in chaos)
    tally.seconds = time.monotonic() - began


def lots(plan: Soak) -> list[dict[str, int]]:
    """For each list, the number of the image that it has of each architecture."""
    dice = random.Random(plan.seed)
    return [
        {
            name: dice.randrange(POOL)
            for name in dice.sample(ARCHITECTURES, dice.randint(1, len(ARCHITECTURES)))
        }
        for _ in range(plan.pushes)
    ]


def pool(seed: int) -> dict[str, list[Image]]:
    """Images of each architecture, some of which share a layer."""
    base = random.Random(seed).randbytes(4096)
    return {
        name: [
            make_image(architecture=name, seed=f"{seed}/{n}", base=(base,) if n % 2 else (), layers=1 + n % 3)
            for n in range(POOL)
        ]
        for name in ARCHITECTURES
    }


async def _push_all(
    plan: Soak, client: RegistryClient, doubles: Sequence[RegistryDouble], tally: Tally
) -> None:
    images = pool(plan.seed)
    gate = asyncio.Semaphore(plan.side_by_side)
    target, elsewhere = doubles
    access = Access(Keychain({d.host: Credential("user", USERS["user"]) for d in doubles}), insecure=True)

    async def one(number: int, chosen: dict[str, int]) -> None:
        source = target if number % 2 else elsewhere
        listed = [images[name][n] for name, n in chosen.items()]
        goal = target_at(target, f"app{number % REPOSITORIES}", listed, tags=(f"t{number}",))
        children = [
            child_at(source, f"src/{name}{n}", image)
            for (name, n), image in zip(chosen.items(), listed, strict=True)
        ]
        async with gate:
            failure = await operate(
                plan, tally, lambda: push_one(client, goal, children, access), random.Random(number)
            )
        if failure is not None:
            tally.failures[f"{failure.code} ({failure.detail})"] += 1
            return
        tally.succeeded += 1
        tally.wrong += not _is_whole(target, goal)

    async with asyncio.TaskGroup() as group:
        for number, chosen in enumerate(lots(plan)):
            group.create_task(one(number, chosen))


async def operate(plan: Soak, tally: Tally, work: Work, dice: random.Random) -> errors.BrokerError | None:
    """As an operation is carried out: tried again as its policy decides. Gives what ended it, if anything."""
    deadline = datetime.now(UTC) + timedelta(minutes=15)
    attempt = 1
    while True:
        tally.attempts += 1
        try:
            await work()
        except errors.BrokerError as error:
            decision = decide(
                error,
                attempt=attempt,
                now=datetime.now(UTC),
                deadline=deadline,
                policy=plan.policy,
                random=dice.random,
            )
        else:
            return None
        if isinstance(decision, GiveUp):
            return decision.failure
        await asyncio.sleep(decision.delay.total_seconds())
        attempt += 1


def _is_whole(double: RegistryDouble, goal: CopyTarget) -> bool:
    held = double.content.at(goal.repository.path)
    found = held.find_manifest(goal.tags[0])
    if found is None:
        return False
    digest, stored = found
    return digest == str(goal.index.digest) and stored.raw == goal.index.raw and not held.missing(stored)
