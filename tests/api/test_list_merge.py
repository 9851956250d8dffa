"""Concurrent additions to one list are merged and saved together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from tests.support.broker import Broker, StartBroker, check_problem, registry_auth
from tests.support.images import Image, make_image
from tests.support.planted_images import plant_image
from tests.support.postgres import connected, execute
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]
POISON = (
    """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no such entry here'; END $$
    """,
    """
    CREATE TRIGGER refuse BEFORE INSERT ON entries FOR EACH ROW
    WHEN (NEW.reference LIKE '%poison%') EXECUTE FUNCTION refuse()
    """,
)


class Legs:
    """The calls of one session; each image has its own repository."""

    def __init__(self, broker: Broker, registry: RegistryDouble) -> None:
        self._broker = broker
        self._registry = registry
        self.sent = 0

    async def first(self, **members: Any) -> Json:
        """Create the list that the others add to."""
        created: Json = await self._broker.create(f"{self._registry.host}/app:1", amend=True, **members)
        return created

    def send(
        self, architecture: str, *, revision: str = "a", name: str = "", password: str | None = None
    ) -> asyncio.Task[httpx2.Response]:
        """Add an image, with the credential of this leg if it has one."""
        labels = {"org.opencontainers.image.revision": revision}
        image = make_image(architecture=architecture, labels=labels)
        source = plant_image(self._registry, f"leg-{name or architecture}", image)
        body = {
            "reference": f"{self._registry.host}/app:1",
            "sources": [source],
            "amend": True,
            "insecure": True,
        }
        headers = {"Prefer": "wait=60"}
        if password is not None:
            own = {"serveraddress": self._registry.host, "username": "user", "password": password}
            headers["X-Registry-Auth"] = registry_auth(own)
        self.sent += 1
        return asyncio.create_task(self._broker.client.post("/v1/lists", json=body, headers=headers))

    async def resolved(self) -> None:
        """Wait until the registry has answered every request of the legs."""
        await self._registry.until(lambda: self._configs() >= self.sent and not self._registry.log.in_flight)

    def _configs(self) -> int:
        return sum(each.status == 200 for each in self._registry.received("GET", "/blobs/"))


@asynccontextmanager
async def locked_list(url: str) -> AsyncIterator[None]:
    """Block every change of lists for as long as the block runs."""
    async with connected(url) as connection:
        await connection.execute(text("BEGIN"))
        await connection.execute(text("SELECT id FROM lists FOR UPDATE"))
        yield
        await connection.execute(text("COMMIT"))


async def test_concurrent_additions_to_one_list_are_saved_together_and_leave_slots_for_others(
    start_broker: StartBroker, database_url: str, registry: RegistryDouble
) -> None:
    # If each waiting leg held a connection, readers would have none.
    broker = await start_broker(pool_size=2)
    legs = Legs(broker, registry)
    made = await legs.first()
    async with locked_list(database_url):
        tasks = [
            legs.send(architecture) for architecture in ("amd64", "arm64", "s390x", "ppc64le", "riscv64")
        ]
        await legs.resolved()
        assert (await broker.call("GET", f"/v1/lists/{made['id']}"))["revision"] == 1
    replies = [await task for task in tasks]
    assert [reply.status_code for reply in replies] == [201] * 5
    found = await broker.call("GET", f"/v1/lists/{made['id']}")
    assert len(found["entries"]) == 5
    assert found["revision"] < 1 + 5


async def test_a_rejected_addition_does_not_affect_the_others(
    broker: Broker, database_url: str, registry: RegistryDouble
) -> None:
    legs = Legs(broker, registry)
    made = await legs.first(same_revision=True)
    async with locked_list(database_url):
        first = legs.send("amd64")
        await legs.resolved()
        others = [legs.send("arm64", revision="b"), legs.send("s390x")]
        await legs.resolved()
    refused, added = [await task for task in others]
    check_problem(refused, 409, "mixed-revisions")
    assert ((await first).status_code, added.status_code) == (201, 201)
    found = await broker.call("GET", f"/v1/lists/{made['id']}")
    assert len(found["entries"]) == 2


async def test_the_first_valid_addition_creates_the_list(
    broker: Broker, database_url: str, registry: RegistryDouble
) -> None:
    # Each leg has its own images, otherwise the legs would share what was read.
    listed = [
        [
            plant_image(registry, f"{name}-{architecture}", image_of(architecture, name, revision))
            for architecture, revision in (("amd64", "a"), ("arm64", other))
        ]
        for name, other in (("first", "b"), ("second", "b"), ("third", "a"))
    ]
    tokens = [await broker.new_token(name=name) for name in ("first", "second", "third")]
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(broker.client_with(token, Prefer="wait=60")) for token in tokens
        ]
        async with locked_table(database_url):
            legs = []
            for client, sources in zip(clients, listed, strict=True):
                body = {
                    "reference": f"{registry.host}/app:1",
                    "sources": sources,
                    "amend": True,
                    "insecure": True,
                    "same_revision": True,
                }
                legs.append(asyncio.create_task(client.post("/v1/lists", json=body)))
                await registry.until(lambda: configs_given(registry) >= 2 * len(legs))
                await registry.until(lambda: not registry.log.in_flight)
        replies = [await leg for leg in legs]
    assert [reply.status_code for reply in replies] == [409, 409, 201]
    assert replies[2].json()["created_by"] == "third"


def image_of(architecture: str, leg: str, revision: str) -> Image:
    labels = {"org.opencontainers.image.revision": revision, "leg": leg}
    return make_image(architecture=architecture, labels=labels)


def configs_given(registry: RegistryDouble) -> int:
    return sum(each.status == 200 for each in registry.received("GET", "/blobs/"))


@asynccontextmanager
async def locked_table(url: str) -> AsyncIterator[None]:
    """Block the creation of lists as well: lists can be read, but not locked."""
    async with connected(url) as connection:
        await connection.execute(text("BEGIN"))
        await connection.execute(text("LOCK TABLE lists IN EXCLUSIVE MODE"))
        yield
        await connection.execute(text("COMMIT"))


async def test_a_database_error_of_one_addition_does_not_affect_the_others(
    broker: Broker, database_url: str, registry: RegistryDouble
) -> None:
    for statement in POISON:
        await execute(database_url, statement)
    legs = Legs(broker, registry)
    made = await legs.first()
    async with locked_list(database_url):
        first = legs.send("amd64")
        await legs.resolved()
        others = [legs.send("arm64", name="poison"), legs.send("s390x")]
        await legs.resolved()
    poisoned, added = [await task for task in others]
    check_problem(poisoned, 500)
    assert ((await first).status_code, added.status_code) == (201, 201)
    found = await broker.call("GET", f"/v1/lists/{made['id']}")
    assert len(found["entries"]) == 2


async def test_a_list_that_several_additions_complete_is_pushed_with_the_credential_of_one(
    broker: Broker, database_url: str
) -> None:
    async with RegistryDouble(auth="bearer", users={"user": "secret"}, anonymous_pull=True) as registry:
        legs = Legs(broker, registry)
        expected = ["linux/amd64", "linux/arm64", "linux/s390x"]
        made = await legs.first(expected_platforms=expected, push_when_complete=True)
        async with locked_list(database_url):
            tasks = [legs.send("amd64")]
            await legs.resolved()
            tasks.append(legs.send("arm64", password="secret"))
            await legs.resolved()
            tasks.append(legs.send("s390x"))
            await legs.resolved()
        assert [(await task).status_code for task in tasks] == [201] * 3
        reply = await broker.client.get(f"/v1/lists/{made['id']}", params={"wait_for": "pushed"})
        assert (reply.status_code, reply.json()["state"]) == (200, "pushed"), reply.text
