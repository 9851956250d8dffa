"""The broker, measured from the HTTP call to the HTTP answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import aiohttp

from scripts.bench_lib.processes import Broker
from scripts.bench_lib.scenario import TAG, Failed, Round, Scenario

OK, CREATED = 200, 201


@asynccontextmanager
async def calling(broker: Broker) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {broker.token}"}
    # The client closes idle connections before the server does, so that neither closes during a write.
    connector = aiohttp.TCPConnector(keepalive_timeout=2)
    async with aiohttp.ClientSession(broker.address, headers=headers, connector=connector) as session:
        yield session


async def run_broker(session: aiohttp.ClientSession, scenario: Scenario, host: str, target: str) -> Round:
    return await create_and_push(session, f"{host}/{target}:{TAG}", scenario.references(host))


async def create_and_push(session: aiohttp.ClientSession, reference: str, sources: Sequence[str]) -> Round:
    """Two calls, as `docker manifest` is two commands."""
    began = perf_counter()
    wanted = {"reference": reference, "sources": sources, "insecure": True}
    created = await _post(session, "/v1/lists", wanted, CREATED)
    between = perf_counter()
    await _post(session, f"/v1/lists/{created['id']}/push", {"insecure": True}, OK)
    return Round(between - began, perf_counter() - between)


async def _post(
    session: aiohttp.ClientSession, path: str, body: dict[str, Any], wanted: int
) -> dict[str, Any]:
    # Longer than any delay here: the answer is what counts.
    async with session.post(path, json=body, headers={"Prefer": "wait=120"}) as reply:
        if reply.status != wanted:
            raise Failed(f"the broker answered {path} with {reply.status}: {await reply.text()}")
        answer: dict[str, Any] = await reply.json()
        return answer
