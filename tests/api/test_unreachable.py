"""Callers get one answer for all reasons why a registry is not reached, since reasons show the network."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text

from app.outbound.resolver import Lookups
from app.registry.client import Limits
from tests.support.broker import Broker, StartBroker
from tests.support.images import make_image
from tests.support.planted_images import plant_image
from tests.support.postgres import connected
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

NAMES: Mapping[str, str | None] = {
    "unknown.test": None,
    "private.test": "10.255.255.1",
    "metadata.test": "169.254.169.254",
    "refused.test": "127.0.0.1",
    "silent.test": "127.0.0.1",
    "lost.test": "127.0.0.1",
}
LITERALS = ("10.255.255.1", "[fd00::1]")


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    async def find(_: Lookups, host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
        address = NAMES.get(host, host)
        if address is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(address, socket.AF_INET)]

    monkeypatch.setattr(Lookups, "find", find)


async def _keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


@pytest.fixture
async def registries() -> AsyncIterator[list[str]]:
    """The registries, each of which can't be reached for another reason."""
    async with AsyncExitStack() as stack:
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        ports = {"refused.test": closed.getsockname()[1]}
        for name, serve in (("silent.test", _keep_silent), ("lost.test", _hang_up)):
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            ports[name] = server.sockets[0].getsockname()[1]
        port = ports["refused.test"]
        yield [f"{name}:{ports.get(name, port)}" for name in (*NAMES, *LITERALS)]


@asynccontextmanager
async def _quick(start_broker: StartBroker, **settings: Any) -> AsyncIterator[Broker]:
    yield await start_broker(
        limits=Limits(attempts=2, backoff_seconds=0.01, longest_backoff_seconds=0.01),
        registry_connect_seconds=0.5,
        registry_call_seconds=0.5,
        insecure_registries="*.test,10.0.0.0/8,fd00::/8",
        **settings,
    )


def _shape(name: str, document: Mapping[str, Any]) -> str:
    """What a problem says, without the name of the registry and the ids."""
    shown = {key: document.get(key) for key in ("type", "title", "status", "detail", "errors", "problem")}
    return json.dumps(shown, sort_keys=True).replace(json.dumps(name)[1:-1], "REGISTRY")


async def test_an_inspection_has_one_answer_for_all_reasons(
    start_broker: StartBroker, registries: list[str], database_url: str
) -> None:
    async with _quick(start_broker) as broker:
        replies = await asyncio.gather(
            *(broker.client.get("/v1/inspect", params={"reference": f"{each}/a:1"}) for each in registries)
        )
    assert {reply.status_code for reply in replies} == {502}, [
        reply.text for reply in replies if reply.status_code != 502
    ]
    answers = {_shape(name, reply.json()) for name, reply in zip(registries, replies, strict=True)}
    assert len(answers) == 1, answers
    async with connected(database_url) as connection:
        rows = (await connection.execute(text("SELECT problem, attempt FROM operations"))).all()
    stored = {json.dumps(row[0], sort_keys=True) for row in rows}
    for name in registries:
        stored = {each.replace(json.dumps(name)[1:-1], "REGISTRY") for each in stored}
    assert len(stored) == 1, stored
    assert len({row[1] for row in rows}) == 1


async def test_a_list_and_several_sources_have_one_answer_for_all_reasons(
    start_broker: StartBroker, registries: list[str]
) -> None:
    async with _quick(start_broker) as broker, RegistryDouble() as double:
        good = plant_image(double, "src", make_image())
        details: set[str] = set()
        for name in registries:
            body = {"reference": f"{double.host}/app:1", "sources": [good, f"{name}/a:1"], "insecure": True}
            reply = await broker.client.post("/v1/lists", json=body)
            assert reply.status_code == 502, reply.text
            details.add(_shape(name, reply.json()))
        assert len(details) == 1, details
        body = {"reference": f"{double.host}/app:1", "sources": [f"{name}/a:1" for name in registries]}
        reply = await broker.client.post("/v1/lists", json=body)
        assert reply.status_code == 502, reply.text
        errors = reply.json()["errors"]
        assert len({error["code"] for error in errors}) == 1
        assert (
            len({error["detail"].replace(name, "") for error, name in zip(errors, registries, strict=True)})
            == 1
        )


async def test_a_plan_and_a_push_have_one_answer_for_all_reasons(
    start_broker: StartBroker, registries: list[str]
) -> None:
    async with _quick(start_broker) as broker, RegistryDouble() as double:
        source = plant_image(double, "src", make_image())
        plans, pushes = set(), set()
        for name in registries:
            made = await broker.create(f"{name}/app:1", source)
            path = f"/v1/lists/{made['id']}"
            planned = await broker.client.post(f"{path}/plan", json={"insecure": True})
            plans.add(_shape(name, planned.json()))
            pushed = await broker.client.post(f"{path}/push", json={"insecure": True})
            pushes.add(_shape(name, pushed.json()))
    assert len(plans) == 1, plans
    assert len(pushes) == 1, pushes


async def test_a_delivery_has_one_problem_for_all_reasons(start_broker: StartBroker) -> None:
    names = ["unknown.test", "private.test", "metadata.test", "refused.test"]
    async with _quick(start_broker) as broker, RegistryDouble() as double:
        hooks = {
            name: await broker.call("POST", "/v1/webhooks", {"url": f"https://{name}/hook"}, status=201)
            for name in names
        }
        await broker.create(f"{double.host}/app:1", plant_image(double, "src", make_image()))
        problems = set()
        for name, hook in hooks.items():
            problem = None
            while problem is None:
                found = await broker.call("GET", f"/v1/webhooks/{hook['id']}/deliveries")
                problem = found["items"][0].get("problem") if found["items"] else None
                await asyncio.sleep(0.05)
            problems.add(_shape(f"https://{name}", problem))
    assert len(problems) == 1, problems


async def test_the_log_has_the_reasons(
    start_broker: StartBroker, registries: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with _quick(start_broker) as broker:
        for name in registries:
            await broker.client.get("/v1/inspect", params={"reference": f"{name}/a:1"})
    for words in ("can't be resolved", "not public (private)", "Connect call failed", "in time"):
        assert words in caplog.text


async def test_the_operator_may_let_callers_know_the_reasons(
    start_broker: StartBroker, registries: list[str]
) -> None:
    async with _quick(start_broker, failure_details=True) as broker:
        codes = {}
        for name in registries:
            reply = await broker.client.get("/v1/inspect", params={"reference": f"{name}/a:1"})
            codes[name.partition(":")[0]] = reply.json()["type"].rpartition(":")[2]
    assert codes["unknown.test"] == codes["refused.test"] == "registry-unreachable"
    assert codes["private.test"] == codes["10.255.255.1"] == "registry-forbidden"
    assert codes["silent.test"] == "registry-timeout"
