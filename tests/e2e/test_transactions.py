"""The broker holds no database connection during a request to a registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import make_url, text

from app.store.database import Database
from tests.support.broker import Broker
from tests.support.images import make_image, plant
from tests.support.operation_queue import until
from tests.support.registry import Fault, RegistryDouble
from tests.support.registry_double.wire import Answer, Exchange

NAME = "onlooker"
PATIENCE_SECONDS = 120.0
NOW = text("SELECT clock_timestamp()")
# A transaction that was there before the request came, and is still there: of anyone but the onlooker.
OLDER = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    f" AND application_name <> '{NAME}' AND xact_start < :moment"
)


@dataclass(frozen=True, slots=True)
class Onlooker(Fault):
    """Answers a request only when all transactions that were open when it came have ended.

    Who held one for the sake of the answer waits in vain, and its request is noted.
    """

    database: Database
    held: list[str] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)

    async def instead(self, exchange: Exchange) -> Answer | None:
        self.looked.append(exchange.received.method)
        try:
            async with self.database.transaction() as tx:
                moment = (await tx.execute(NOW)).scalar_one()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await until(lambda: self._none_older(moment))
        except TimeoutError:
            self.held.append(str(exchange.received))
        return None

    async def _none_older(self, moment: object) -> bool:
        async with self.database.transaction() as tx:
            return not (await tx.execute(OLDER, {"moment": moment})).scalar_one()


@pytest.fixture
async def onlooker(database_url: str) -> AsyncIterator[Onlooker]:
    url = make_url(database_url).update_query_dict({"application_name": NAME})
    database = Database(url.render_as_string(hide_password=False))
    yield Onlooker(database)
    await database.dispose()


async def test_no_transaction_is_open_during_a_request_to_a_registry(
    broker: Broker, registry: RegistryDouble, onlooker: Onlooker
) -> None:
    for tag, architecture in (("1", "amd64"), ("2", "arm64")):
        plant(registry, f"app-{tag}", tag, make_image(architecture=architecture))
    registry.misbehave(onlooker, times=None)
    host = registry.host
    made = await broker.create(f"{host}/list:1", f"{host}/app-1:1")
    await broker.call(
        "POST", f"/v1/lists/{made['id']}/entries", {"sources": [f"{host}/app-2:2"], "insecure": True}
    )
    await broker.push(made["id"])
    await broker.call("GET", f"/v1/inspect?reference={host}/app-1:1&verbose=true&insecure=true")
    assert onlooker.held == []
    assert {"HEAD", "GET", "POST", "PUT"} <= set(onlooker.looked)
