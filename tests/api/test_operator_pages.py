"""The documentation and the metrics are the operator's; the headers of all responses suit an API."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.broker import Broker, StartBroker, check_problem

pytestmark = pytest.mark.slow

PAGES = ("/docs", "/openapi.json", "/metrics")
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


async def test_the_pages_are_public_by_default(broker: Broker) -> None:
    async with broker.client_with(None) as anyone:
        for page in PAGES:
            assert (await anyone.get(page)).status_code == 200


async def test_the_pages_may_need_an_admin_token(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, operator_pages="admin")
    token = await broker.new_token()
    async with broker.client_with(None) as anyone, broker.client_with(token) as tenant:
        for page in PAGES:
            assert (await anyone.get(page)).status_code == 401
            assert (await tenant.get(page)).status_code == 403
            assert (await broker.client.get(page)).status_code == 200
        assert (await anyone.get("/healthz")).status_code == 200


async def test_the_pages_may_be_off(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, operator_pages="off")
    for page in PAGES:
        check_problem(await broker.client.get(page), 404, "not-found")
    assert (await broker.client.get("/readyz")).status_code == 200


async def test_every_response_has_the_headers_of_an_api(broker: Broker) -> None:
    async with broker.client_with(None) as anyone:
        replies = [
            await broker.client.get("/v1/lists"),
            await broker.client.get("/v1/nothing"),
            await broker.client.post("/v1/lists", json={}),
            await anyone.get("/v1/lists"),
            *[await anyone.get(path) for path in ("/healthz", "/version", *PAGES)],
        ]
    for reply in replies:
        for name, value in HEADERS.items():
            assert reply.headers.get_list(name) == [value], reply.url
        assert "Strict-Transport-Security" not in reply.headers
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
    (docs,) = (reply for reply in replies if reply.url.path == "/docs")
    assert "https://cdn.jsdelivr.net" in docs.headers["Content-Security-Policy"]


async def test_a_request_that_is_not_http_gets_the_same_headers(broker: Broker) -> None:
    host, _, port = broker.base_url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"NONSENSE\r\n\r\n")
    answer = (await reader.read()).decode().lower()
    writer.close()
    for name, value in HEADERS.items():
        assert f"{name}: {value}".lower() in answer


async def test_the_operator_may_demand_tls_of_browsers(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, hsts_seconds=600)
    assert (await broker.client.get("/healthz")).headers["Strict-Transport-Security"] == "max-age=600"
