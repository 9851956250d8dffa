"""The tenancy matrix: no credential but the project's own reads or changes anything of a project."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest

from tests.support.broker import Broker, Client
from tests.support.postgres import connected, execute, new_database
from tests.support.registry import RegistryDouble
from tests.support.tenancy import (
    CREDENTIALS,
    OTHER,
    REFUSED,
    ROWS,
    SAME,
    Call,
    Route,
    filled,
    probes,
    routes,
    unknown_values,
    values_of,
)
from tests.support.tenants import Tenant, fill_tenant, rows_of

pytestmark = pytest.mark.slow

FEWEST_PROBES = 5_000
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")
# These differ from one answer to the next.
OF_THE_MOMENT = {"date", "x-request-id", "traceresponse"}


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Two projects on one broker, and the credentials for calls with the ids of the first one."""

    url: str
    broker: Broker
    victim: Tenant
    tokens: Mapping[str, str | None]

    def client(self, credential: str) -> Client:
        return self.broker.client_with(self.tokens[credential])


@pytest.fixture(scope="session")
async def neighbours(postgres_server: str, template_database: str) -> AsyncIterator[Neighbours]:
    async with new_database(postgres_server, template=template_database) as url:
        async for each in neighbours_on(url):
            yield each


@pytest.fixture
async def fresh_neighbours(database_url: str) -> AsyncIterator[Neighbours]:
    async for each in neighbours_on(database_url):
        yield each


async def neighbours_on(url: str) -> AsyncIterator[Neighbours]:
    async with RegistryDouble() as registry:
        victim = await fill_tenant(url, registry, "victim", size=4)
        stranger = await fill_tenant(url, registry, "stranger")
    # No call may be refused for another reason than its credential.
    async with Broker(
        url,
        worker=False,
        project_operations=100_000,
        tag_operations=1_000,
        wrong_tokens_per_minute=1_000_000,
    ) as broker:
        tokens = {
            "none": None,
            "garbage": "mbt_" + "x" * 43,
            "expired": await broker.new_token("victim", name="expired"),
            "revoked": await broker.new_token("victim", name="revoked"),
            OTHER: stranger.token,
            SAME: victim.token,
        }
        await execute(url, "UPDATE tokens SET expires_at = now() WHERE name = 'expired'")
        await execute(url, "UPDATE tokens SET revoked_at = now() WHERE name = 'revoked'")
        yield Neighbours(url, broker, victim, tokens)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str

    def without(self, values: Mapping[str, str]) -> Answer:
        """The answer, with the values of the call replaced by their names."""
        headers, body = json.dumps(dict(self.headers)), self.body
        for name, value in sorted(values.items(), key=lambda each: -len(each[1])):
            headers, body = (text.replace(value, f"<{name}>") for text in (headers, body))
        if self.status < 400:  # what the caller's own project makes
            body = SECRET.sub("<secret>", TIME.sub("<time>", UUID.sub("<id>", body)))
            headers = UUID.sub("<id>", headers)
        return Answer(self.status, json.loads(headers), body)


async def ask(client: Client, route: Route, call: Call, values: Mapping[str, str]) -> Answer:
    request = client.build_request(
        route.method,
        filled(route.path, values),
        params=filled(call.query, values),
        json=filled(call.body, values),
        headers=filled(call.headers, values),
    )
    reply = await client.send(request, stream=route.row.is_stream)
    body = ""
    if not route.row.is_stream:
        body = reply.text
    elif reply.status_code != 200:
        body = (await reply.aread()).decode()
    elif "after" in call.query:
        body = (await anext(reply.aiter_bytes())).decode()
    await reply.aclose()
    headers = {name: value for name, value in reply.headers.items() if name.lower() not in OF_THE_MOMENT}
    return Answer(reply.status_code, headers, body)


def assert_silent(answer: Answer, victim: Tenant, sent: Mapping[str, str]) -> None:
    """The answer has nothing of the project but what the caller has sent."""
    text = answer.body + json.dumps(dict(answer.headers))
    secrets = {victim.canary, victim.project_id, *(each for ids in victim.ids.values() for each in ids)}
    assert not [each for each in secrets - set(sent.values()) if each in text]


def test_each_route_has_a_row() -> None:
    assert {route.name for route in routes()} == set(ROWS)


def test_the_matrix_has_enough_probes() -> None:
    number = sum(len(list(probes(route))) for route in routes())
    assert number * len(CREDENTIALS) >= FEWEST_PROBES


@pytest.mark.parametrize("route", routes(), ids=lambda route: route.name)
async def test_no_other_credential_reads_or_changes_anything_of_a_project(
    neighbours: Neighbours, route: Route
) -> None:
    async with connected(neighbours.url) as connection:
        before = await rows_of(connection, neighbours.victim)
        for credential in (*REFUSED, OTHER):
            async with neighbours.client(credential) as client:
                for call, number in probes(route):
                    values = values_of(neighbours.victim, number)
                    answer = await ask(client, route, call, values)
                    assert_silent(answer, neighbours.victim, values)
                    if route.row.is_open:
                        assert answer.status == 200
                    elif credential == OTHER:
                        unknown = unknown_values(values)
                        same = (await ask(client, route, call, unknown)).without(unknown)
                        assert answer.without(values) == same
                    else:
                        assert answer.status == 401
        assert await rows_of(connection, neighbours.victim) == before


async def test_the_projects_own_token_finds_what_the_matrix_asks_for(fresh_neighbours: Neighbours) -> None:
    """Otherwise the matrix would show nothing."""
    victim = fresh_neighbours.victim
    async with fresh_neighbours.client(SAME) as client:
        for route in sorted(routes(), key=lambda each: (each.row.ends, -each.path.count("/"))):
            answers = [
                await ask(client, route, call, values_of(victim, number)) for call, number in probes(route)
            ]
            expected = 403 if route.row.is_admins else 404
            assert any((each.status == expected) is route.row.is_admins for each in answers), route.name
            assert all(each.status not in {401, 500} for each in answers), route.name
