"""The calls that legs make, each to any of the APIs of one broker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

Json = dict[str, Any]
Client = httpx2.AsyncClient

PATIENCE = 300.0
RETRIES = 20
OK, CREATED, UNAVAILABLE = 200, 201, 503


class Refused(Exception):
    """An answer that is none of those that were to come."""


@dataclass(slots=True)
class Apis:
    """Several processes with one database: a call may go to any of them.

    `busy` counts the answers that asked to come again, as curl's --retry does.
    """

    clients: Sequence[Client]
    dice: random.Random
    busy: int = 0

    @property
    def any(self) -> Client:
        return self.dice.choice(self.clients)

    async def post(self, path: str, body: Json, **headers: str) -> httpx2.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._call("POST", path, json=body, headers={"Prefer": "wait=300", **sent})

    async def _call(self, method: str, path: str, **what: Any) -> httpx2.Response:
        for _ in range(RETRIES):
            reply = await self.any.request(method, path, **what)
            if reply.status_code != UNAVAILABLE:
                break
            self.busy += 1
            await asyncio.sleep(float(reply.headers["Retry-After"]) * (1 + self.dice.random()))
        return reply

    async def get(self, path: str, **query: str) -> Json:
        reply = await self._call("GET", path, params=query)
        if reply.status_code != OK:
            raise Refused(f"GET {path}: {reply.status_code} {reply.text}")
        document: Json = reply.json()
        return document

    async def pages(self, path: str, **query: str) -> AsyncIterator[Json]:
        """All items of a listing."""
        cursor: str | None = None
        while True:
            page = await self.get(path, **query, limit="100", **({"cursor": cursor} if cursor else {}))
            for item in page["items"]:
                yield item
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def hand_in(self, body: Json) -> Json:
        """One leg's call."""
        reply = await self.post("/v1/lists", body)
        if reply.status_code != CREATED:
            raise Refused(f"{body['session']}, {body['sources']}: {reply.status_code} {reply.text}")
        answer: Json = reply.json()
        return answer

    async def ended(self, operation_id: str) -> Json:
        """The operation, once it has ended; its stream ends with it."""
        async with self.any.stream("GET", f"/v1/operations/{operation_id}/events") as reply:
            async for _line in reply.aiter_lines():
                pass
        return await self.get(f"/v1/operations/{operation_id}")


@asynccontextmanager
async def calling(addresses: Sequence[str], token: str, dice: random.Random) -> AsyncIterator[Apis]:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx2.AsyncClient(
                    base_url=address,
                    headers={"Authorization": f"Bearer {token}"},
                    timeout=PATIENCE,
                    trust_env=False,
                    limits=httpx2.Limits(max_connections=None, keepalive_expiry=2),
                )
            )
            for address in addresses
        ]
        yield Apis(clients, dice)


async def gather_all(work: Sequence[Any]) -> list[Any]:
    """All to their end, then the first failure, so that none goes on behind a run that has failed."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes
