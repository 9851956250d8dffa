"""Every address that the broker gives begins with its public base URL."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.support.broker import Broker, Client, StartBroker

pytestmark = pytest.mark.slow

PUBLIC = "https://portal.example/tools/broker"
NOWHERE = "registry.invalid"
LOOPBACK = "127.0.0.0/8"

Json = dict[str, Any]


async def given_addresses(broker: Broker, client: Client, prefix: str = "") -> dict[str, str]:
    """One address of each kind that a response gives."""
    body = {"reference": f"{NOWHERE}/list:{uuid4().hex}", "sources": [f"{NOWHERE}/a:1"]}
    accepted = await client.post(f"{prefix}/v1/lists", json=body, headers={"Prefer": "respond-async"})
    assert accepted.status_code == 202
    operation = accepted.json()["id"]
    other = {**body, "reference": f"{NOWHERE}/list:{uuid4().hex}"}
    await client.post(f"{prefix}/v1/lists", json=other, headers={"Prefer": "respond-async"})
    page = await client.get(f"{prefix}/v1/operations?limit=1")
    missing = await client.get(f"{prefix}/v1/lists/{uuid4()}")
    method = await client.put(f"{prefix}/v1/lists", json={})
    invalid = await client.post(f"{prefix}/v1/lists", json={})
    document = (await client.get(f"{prefix}/openapi.json")).json()
    docs = (await client.get(f"{prefix}/docs")).text
    hook = {"url": "https://receiver.example/"}
    webhook = await client.post(f"{prefix}/v1/webhooks", json=hook)
    await client.delete(f"{prefix}/v1/webhooks/{webhook.json()['id']}")
    return {
        "location": accepted.headers["Location"].removesuffix(f"/v1/operations/{operation}"),
        "link": page.headers["Link"].partition("/v1/operations?limit=1&cursor=")[0].removeprefix("<"),
        "webhook": webhook.headers["Location"].removesuffix(f"/v1/webhooks/{webhook.json()['id']}"),
        "missing": missing.json()["instance"].rpartition("/v1/lists/")[0],
        "method": method.json()["instance"].removesuffix("/v1/lists"),
        "invalid": invalid.json()["instance"].removesuffix("/v1/lists"),
        "servers": document.get("servers", [{"url": ""}])[0]["url"],
        "docs": docs.partition("/openapi.json'")[0].rpartition("'")[2],
    }


@pytest.mark.parametrize(
    "url", [PUBLIC, f"{PUBLIC}/", "http://portal.example:8443", "https://[2001:db8::1]/b"]
)
async def test_the_setting_is_in_every_address(start_broker: StartBroker, url: str) -> None:
    broker = await start_broker(worker=False, public_url=url)
    assert set((await given_addresses(broker, broker.client)).values()) == {url.rstrip("/")}


async def test_without_a_setting_addresses_are_paths_whatever_a_caller_sends(
    start_broker: StartBroker,
) -> None:
    broker = await start_broker(worker=False, trusted_proxies="192.0.2.1")
    sent = {
        "Forwarded": "host=evil.example;proto=https",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Proto": "https",
        # Uvicorn believes this header if its sender is on this machine.
        "X-Forwarded-For": "192.0.2.1",
    }
    async with broker.client_with(broker.token, **sent) as client:
        assert set((await given_addresses(broker, client)).values()) == {""}
    assert set((await given_addresses(broker, broker.client)).values()) == {""}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"X-Forwarded-Prefix": "/broker"}, "/broker"),
        ({"Forwarded": "host=portal.example;proto=https"}, "https://portal.example"),
        (
            {"Forwarded": "host=portal.example;proto=https", "X-Forwarded-Prefix": "/broker/"},
            "https://portal.example/broker",
        ),
        (
            {
                "X-Forwarded-Host": "portal.example",
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Prefix": "/broker",
            },
            "https://portal.example/broker",
        ),
    ],
)
async def test_the_headers_of_a_trusted_proxy_are_in_every_address(
    start_broker: StartBroker, sent: dict[str, str], expected: str
) -> None:
    broker = await start_broker(worker=False, trusted_proxies=LOOPBACK)
    async with broker.client_with(broker.token, **sent) as client:
        assert set((await given_addresses(broker, client)).values()) == {expected}
    # The next request, perhaps on the same connection, has none.
    assert set((await given_addresses(broker, broker.client)).values()) == {""}


async def test_the_setting_goes_before_the_headers_of_a_proxy(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, public_url=PUBLIC, trusted_proxies=LOOPBACK)
    async with broker.client_with(broker.token, **{"X-Forwarded-Prefix": "/other"}) as client:
        assert set((await given_addresses(broker, client)).values()) == {PUBLIC}


@pytest.mark.parametrize("prefix", ["/tools/broker", "/broker", "/v1", "/docs"])
async def test_a_proxy_may_leave_the_prefix_in_the_path(start_broker: StartBroker, prefix: str) -> None:
    broker = await start_broker(worker=False, public_url=f"https://portal.example{prefix}")
    base = f"https://portal.example{prefix}"
    assert set((await given_addresses(broker, broker.client, prefix)).values()) == {base}
    assert set((await given_addresses(broker, broker.client)).values()) == {base}


async def test_a_path_that_only_begins_like_the_prefix_is_unknown(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, public_url="https://portal.example/broker")
    for path in ("/brokers/v1/lists", "/broker", "/other/v1/lists", "/broker/broker/v1/lists"):
        assert (await broker.client.get(path)).status_code == 404


async def test_a_failed_operation_has_its_public_address(start_broker: StartBroker) -> None:
    broker = await start_broker(public_url=PUBLIC)
    body = {"reference": f"{NOWHERE}/list:1", "sources": [f"{NOWHERE}/a:1"]}
    problem = (await broker.client.post("/v1/lists", json=body)).json()
    assert problem["instance"] == f"{PUBLIC}/v1/operations/{problem['operation_id']}"


async def test_the_document_without_a_base_names_no_server(broker: Broker) -> None:
    assert "servers" not in (await broker.client.get("/openapi.json")).json()
