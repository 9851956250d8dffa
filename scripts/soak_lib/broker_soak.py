"""Makes the same pushes through a whole broker: its API, its worker and Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2

from scripts.soak_lib.client_soak import REPOSITORIES, USERS, Soak, Tally, failing_registries, lots, pool
from tests.support.broker import Broker, Client
from tests.support.images import Image
from tests.support.registry import RegistryDouble

__all__ = ["Caller", "credentials_for", "order_all", "soak_broker"]

Json = dict[str, Any]

# The statuses that a CI job retries.
MAY_PASS = frozenset({429, 502, 503, 504})
BUSY = 503
PATIENCE = 5
ENDED = frozenset({"succeeded", "failed", "cancelled"})


class Failed(Exception):
    """An operation that ended otherwise than in success."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{problem.get('type')} ({problem.get('detail')})")
        self.may_pass = problem.get("status") in MAY_PASS


@dataclass(frozen=True, slots=True)
class Order:
    """One list: the images that it has, where they are, and the tag that it goes to."""

    number: int
    source: RegistryDouble
    target: RegistryDouble
    images: Mapping[str, Image]

    @property
    def repository(self) -> str:
        return f"app{self.number % REPOSITORIES}"

    @property
    def tag(self) -> str:
        return f"t{self.number}"

    @property
    def reference(self) -> str:
        return f"{self.target.host}/{self.repository}:{self.tag}"

    def is_met_by(self, push: Mapping[str, Any]) -> bool:
        """Whether the tag holds what the push says, all of it, and just these images."""
        held = self.target.content.at(self.repository)
        found = held.find_manifest(self.tag)
        if found is None:
            return False
        digest, stored = found
        listed = {child["digest"] for child in stored.document()["manifests"]}
        wanted = {image.digest for image in self.images.values()}
        said = {push["digest"], *(target["digest"] for target in push["targets"])}
        return said == {digest} and listed == wanted and not held.missing(stored)


class Api(Protocol):
    """Whatever answers: a broker, or one of several processes of it."""

    @property
    def client(self) -> Client: ...


class Caller:
    """A CI job: an Idempotency-Key with each request, and what failed for now is asked for again.

    `keys` are those that it has used.
    """

    def __init__(self, api: Api, tally: Tally) -> None:
        self._api = api
        self._tally = tally
        self.keys: set[str] = set()

    async def create(self, order: Order) -> str:
        """The list's id; creating is not worth a long wait to the broker, but it is to this caller."""
        sources = [f"{order.source.host}/src/{name}:1" for name in order.images]
        body = {"reference": order.reference, "sources": sources, "insecure": True}
        for again in range(PATIENCE):
            try:
                made = await self._ask("/v1/lists", body, f"create-{order.number}-{again}")
            except Failed as failure:
                if not failure.may_pass or again == PATIENCE - 1:
                    raise
                self._tally.repeats += 1
            else:
                return str(made["id"])
        raise AssertionError

    async def push(self, order: Order, list_id: str) -> Json:
        """Asked for once: what passes is the broker's to wait for."""
        return await self._ask(f"/v1/lists/{list_id}/push", {"insecure": True}, f"push-{order.number}")

    async def _ask(self, path: str, body: Json, key: str) -> Json:
        self.keys.add(key)
        headers = {"Prefer": "respond-async", "Idempotency-Key": key}
        operation = await self._call("POST", path, json=body, headers=headers)
        while operation["state"] not in ENDED:
            await self._follow(operation["id"])
            operation = await self._call("GET", f"/v1/operations/{operation['id']}")
        self._tally.attempts += operation["attempts"]
        if operation["state"] != "succeeded":
            raise Failed(operation["problem"] or {"type": operation["state"]})
        result: Json = operation["result"]
        return result

    async def _follow(self, operation_id: str) -> None:
        """Until the stream ends: with the operation, or with the process that sent it."""
        path = f"/v1/operations/{operation_id}/events"
        with suppress(httpx2.TransportError):
            async with self._api.client.stream("GET", path) as reply:
                async for _line in reply.aiter_lines():
                    pass

    async def _call(self, method: str, path: str, **sent: Any) -> Json:
        """What got no answer is asked again, and what was refused for now as its Retry-After says."""
        while True:
            try:
                reply = await self._api.client.request(method, path, **sent)
            except httpx2.TransportError:
                wait = 0.1
            else:
                if reply.status_code != BUSY:
                    assert reply.is_success, reply.text
                    answer: Json = reply.json()
                    return answer
                wait = float(reply.headers["Retry-After"])
            self._tally.repeats += 1
            await asyncio.sleep(wait)


async def soak_broker(plan: Soak, database_url: str) -> Tally:
    """Half of the lists have their images on the registry that they are pushed to, half on another.

    Faults strike from the first creation to the last push.
    """
    tally = Tally()
    async with (
        failing_registries(plan, tally) as doubles,
        Broker(
            database_url,
            policy=plan.policy,
            prompt=plan.prompt,
            limits=plan.limits,
            registry_credentials=credentials_for(doubles),
            worker_concurrency=plan.side_by_side,
            registry_operations=plan.side_by_side // 2,
            pool_size=10,
        ) as broker,
    ):
        await order_all(plan, Caller(broker, tally), doubles, tally)
    return tally


def credentials_for(doubles: Sequence[RegistryDouble]) -> dict[str, dict[str, str]]:
    """As the operator sets them."""
    return {double.host: {"username": "user", "password": USERS["user"]} for double in doubles}


async def order_all(plan: Soak, caller: Caller, doubles: Sequence[RegistryDouble], tally: Tally) -> None:
    """Every list, so many side by side; each success is looked at as soon as it is told."""
    gate = asyncio.Semaphore(plan.side_by_side)

    async def one(order: Order) -> None:
        async with gate:
            try:
                pushed = await caller.push(order, await caller.create(order))
            except Failed as failure:
                tally.failures[str(failure)] += 1
                return
        tally.succeeded += 1
        tally.wrong += not order.is_met_by(pushed)

    async with asyncio.TaskGroup() as group:
        for order in _orders(plan, doubles):
            group.create_task(one(order))


def _orders(plan: Soak, doubles: Sequence[RegistryDouble]) -> Iterator[Order]:
    images = pool(plan.seed)
    target, elsewhere = doubles
    for number, chosen in enumerate(lots(plan)):
        listed = {f"{name}{n}": images[name][n] for name, n in chosen.items()}
        yield Order(number, target if number % 2 else elsewhere, target, listed)
