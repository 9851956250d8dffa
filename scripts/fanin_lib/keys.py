"""Requests with an Idempotency-Key, each sent several times at once: as many operations as keys."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from scripts.fanin_lib.calls import Apis, Json, gather_all
from tests.support.images import make_image, plant
from tests.support.registry import RegistryDouble

MOST_TIMES = 5
CREATED = 201
UNPROCESSABLE = 422
MISMATCH = "urn:manifest-broker:problem:idempotency-key-reused"


@dataclass(slots=True)
class Keys:
    keys: int = 0
    requests: int = 0
    operations: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.keys} keys, {self.requests} requests, {self.operations} operations, "
            f"{self.refused} other bodies refused; {len(self.wrong)} wrong"
        )


async def run_keys(count: int, seed: int, apis: Apis, registry: RegistryDouble, *, at_once: int = 16) -> Keys:
    tally, gate = Keys(), asyncio.Semaphore(at_once)
    plant(registry, "keyed", "1", make_image())

    async def one(number: int) -> None:
        times = random.Random(f"{seed}/{number}").randint(1, MOST_TIMES)
        async with gate:
            await _send(tally, apis, registry.host, number, times)

    before = await _operations(apis)
    await gather_all([one(number) for number in range(count)])
    tally.operations = await _operations(apis) - before
    return tally


async def _send(tally: Keys, apis: Apis, host: str, number: int, times: int) -> None:
    key, body = f"key-{number}", {"sources": [f"{host}/keyed:1"], "insecure": True}
    wanted = {"reference": f"{host}/keyed:k{number}", **body}
    tally.keys += 1
    tally.requests += times
    replies = await gather_all([apis.post("/v1/lists", wanted, Idempotency_Key=key) for _ in range(times)])
    answers = {(reply.status_code, reply.text) for reply in replies}
    if len(answers) != 1 or replies[0].status_code != CREATED:
        tally.wrong.append(f"{key} was answered {answers}")
    other = {"reference": f"{host}/keyed:other", **body}
    reply = await apis.post("/v1/lists", other, Idempotency_Key=key)
    problem: Json = reply.json()
    if (reply.status_code, problem.get("type")) == (UNPROCESSABLE, MISMATCH):
        tally.refused += 1
    else:
        tally.wrong.append(f"another body for {key} was answered {reply.status_code} {reply.text}")


async def _operations(apis: Apis) -> int:
    return len([each async for each in apis.pages("/v1/operations", kind="create")])
