"""Health, readiness and metrics, and the headers of every response."""

from __future__ import annotations

import pytest

from tests.support.broker import Broker, StartBroker, check_problem
from tests.support.openapi_contract import document
from tests.support.postgres import execute
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow


async def test_health_needs_no_token(broker: Broker) -> None:
    async with broker.client_with(None) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        version = (await client.get("/version")).json()["version"]
        assert version
        openapi = (await client.get("/openapi.json")).json()
        assert (openapi, openapi["info"]["version"]) == (document(), version)
        docs = await client.get("/docs")
        assert docs.headers["Content-Type"].startswith("text/html")


async def test_metrics_count_by_route_not_by_path(broker: Broker, registry: RegistryDouble) -> None:
    draft = await broker.create(f"{registry.host}/app:1")
    await broker.call("GET", f"/v1/lists/{draft['id']}")
    await broker.client.get("/v1/made-up-by-a-caller")
    reply = await broker.client.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert 'route="/v1/lists/{list_id}"' in reply.text
    assert draft["id"] not in reply.text
    assert "made-up-by-a-caller" not in reply.text


async def test_a_broker_without_its_tables_is_alive_but_not_ready(broker: Broker, database_url: str) -> None:
    await execute(database_url, "ALTER TABLE alembic_version RENAME TO elsewhere")
    assert (await broker.client.get("/healthz")).status_code == 200
    check_problem(await broker.client.get("/readyz"), 503, "unavailable")


async def test_every_response_has_security_headers_and_a_request_id(broker: Broker) -> None:
    for path in ("/v1/lists", "/v1/nothing", "/healthz"):
        reply = await broker.client.get(path)
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Content-Security-Policy"]
        assert reply.headers["X-Request-ID"]


@pytest.mark.parametrize("worker", [True, False])
async def test_a_broker_stops_on_a_signal_with_and_without_a_worker(
    start_broker: StartBroker, worker: bool
) -> None:
    broker = await start_broker(worker=worker)
    assert (await broker.client.get("/readyz")).status_code == 200


async def test_an_operation_accepted_without_a_worker_runs_when_one_starts(
    start_broker: StartBroker, registry: RegistryDouble
) -> None:
    front = await start_broker(worker=False)
    body = {"reference": f"{registry.host}/app:1"}
    accepted = await front.call("POST", "/v1/lists", body, status=202, Prefer="respond-async")
    assert accepted["state"] == "queued"
    await start_broker()
    assert (await front.ended(accepted["id"]))["state"] == "succeeded"
