"""Expired lists are removed, each with an event."""

from __future__ import annotations

import pytest

from app.store.database import Database
from app.wiring import build_parts
from tests.support.broker import Broker, check_problem
from tests.support.operation_queue import until
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow


async def test_an_expired_list_is_removed_with_an_event(
    broker: Broker, database: Database, database_url: str, registry: RegistryDouble
) -> None:
    kept = await broker.create(f"{registry.host}/kept:1", expires_in=3600)
    expired = await broker.create(f"{registry.host}/expired:1", expires_in=1)
    saving = build_parts(broker.settings, database_url).list_writer

    async def is_removed() -> bool:
        async with database.transaction() as tx:
            await saving.remove_expired(tx)
        return (await broker.client.get(f"/v1/lists/{expired['id']}")).status_code == 404

    await until(is_removed)
    check_problem(await broker.client.get(f"/v1/lists/{expired['id']}"), 404, "list-not-found")
    await broker.call("GET", f"/v1/lists/{kept['id']}")
    removed = await broker.call("GET", "/v1/events/history?type=list.removed")
    assert [event["data"]["list_id"] for event in removed["items"]] == [expired["id"]]
