"""Registry credentials of the operator and of one call."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from sqlalchemy import text

from tests.support.broker import Broker, StartBroker, check_problem, registry_auth
from tests.support.images import make_image, make_image_for, plant
from tests.support.planted_images import plant_image, wait_until_held
from tests.support.postgres import connected
from tests.support.registry import Hold, RegistryDouble

pytestmark = pytest.mark.slow

CANARY = "canary-7f3a-password"
USERS = {"user": CANARY}


def by_password(registry: RegistryDouble, *, host: bool = True) -> str:
    address = {"serveraddress": registry.host} if host else {}
    return registry_auth({"username": "user", "password": CANARY, **address})


@pytest.mark.parametrize("mode", ["basic", "bearer"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "bound to the only registry"])
async def test_a_callers_credential_is_used_for_its_call(
    broker: Broker, mode: Literal["basic", "bearer"], named: bool
) -> None:
    async with RegistryDouble(auth=mode, users=USERS) as double:
        plant(double, "a", "1", make_image())
        headers = {"X-Registry-Auth": by_password(double, host=named)}
        body = {"reference": f"{double.host}/app:1", "sources": [f"{double.host}/a:1"], "insecure": True}
        reply = await broker.client.post("/v1/lists", json=body, headers=headers)
        assert reply.status_code == 201, reply.text
        path = f"/v1/lists/{reply.json()['id']}/push"
        check_problem(await broker.client.post(path, json={"insecure": True}), 403, "registry-denied")
        reply = await broker.client.post(path, json={"insecure": True}, headers=headers)
        assert reply.status_code == 200, reply.text
        assert double.tags("app") == {"1": reply.json()["digest"]}
        reply = await broker.client.get(
            "/v1/inspect",
            params={"reference": f"{double.host}/app:1", "insecure": "true", "source": "registry"},
            headers=headers,
        )
        assert reply.status_code == 200, reply.text


async def test_an_identity_token_is_exchanged_for_a_registry_token(broker: Broker) -> None:
    async with RegistryDouble(auth="bearer", users=USERS) as double:
        assert double.authority is not None
        double.authority.identity_tokens["identity-1"] = "user"
        plant(double, "a", "1", make_image())
        sent = registry_auth({"identitytoken": "identity-1", "serveraddress": double.host})
        reply = await broker.client.get(
            "/v1/inspect",
            params={"reference": f"{double.host}/a:1", "insecure": "true"},
            headers={"X-Registry-Auth": sent},
        )
        assert reply.status_code == 200, reply.text


def check_unused(reply: httpx2.Response, place: str) -> None:
    document = check_problem(reply, 422, "invalid-header")
    assert document["errors"][0]["pointer"] == "header:X-Registry-Auth"
    assert place in document["detail"]


async def test_a_credential_for_a_registry_that_the_call_does_not_name_is_rejected(broker: Broker) -> None:
    async with RegistryDouble() as one:
        source = plant_image(one, "a", make_image())
        body = {"reference": f"{one.host}/app:1", "sources": [source], "insecure": True}
        made = await broker.call("POST", "/v1/lists", body, status=201)
        path = f"/v1/lists/{made['id']}"
        other = {"X-Registry-Auth": by_name("user", "other.test:5000/team")}
        query = {"reference": source, "insecure": "true"}
        for reply in (
            await broker.client.get("/v1/inspect", params=query, headers=other),
            # A list answers this one.
            await broker.client.get("/v1/inspect", params={"reference": f"{one.host}/app:1"}, headers=other),
            await broker.client.post("/v1/lists", json={**body, "session": "two"}, headers=other),
            await broker.client.post("/v1/lists", json={**body, "amend": True}, headers=other),
            await broker.client.post(f"{path}/entries", json={"sources": [source]}, headers=other),
            await broker.client.patch(path, json={"labels": {"a": "b"}}, headers=other),
            await broker.client.post(f"{path}/plan", json={}, headers=other),
            await broker.client.post(f"{path}/push", json={}, headers=other),
        ):
            check_unused(reply, "other.test:5000/team")
        assert one.tags("app") == {}


async def test_a_credential_for_any_registry_that_a_list_names_is_accepted(broker: Broker) -> None:
    async with RegistryDouble() as one, RegistryDouble() as two, RegistryDouble() as three:
        source = plant_image(one, "a", make_image())
        body = {
            "reference": f"{two.host}/app:1",
            "sources": [source],
            "targets": [f"{three.host}/app:1"],
            "insecure": True,
        }
        headers = [("X-Registry-Auth", by_password(each)) for each in (one, two, three)]
        reply = await broker.client.post("/v1/lists", json=body, headers=headers)
        assert reply.status_code == 201, reply.text
        path = f"/v1/lists/{reply.json()['id']}"
        replies = [
            await broker.client.post("/v1/lists", json={**body, "amend": True}, headers=headers),
            await broker.client.post(
                f"{path}/entries", json={"sources": [source], "insecure": True}, headers=headers
            ),
            await broker.client.patch(path, json={"labels": {"a": "b"}}, headers=headers),
            await broker.client.post(f"{path}/push", json={"insecure": True}, headers=headers),
        ]
        assert {each.status_code for each in replies} <= {200, 201}, [each.text for each in replies]


@pytest.mark.parametrize(
    "place", ["*", "*.test", "reg test", "reg.test\0", "\0", "reg.test:0", "reg.test:99999"]
)
async def test_a_credential_without_a_possible_registry_is_rejected(
    shared_broker: Broker, place: str
) -> None:
    reply = await shared_broker.client.get(
        "/v1/inspect",
        params={"reference": "reg.test/a:1"},
        headers={"X-Registry-Auth": by_name("user", place)},
    )
    check_unused(reply, "serveraddress")


async def test_a_credential_needs_serveraddress_with_several_registries(
    broker: Broker, registry: RegistryDouble
) -> None:
    async with RegistryDouble() as other:
        sources = [f"{registry.host}/a:1", f"{other.host}/a:1"]
        reply = await broker.client.post(
            "/v1/lists",
            json={"reference": f"{registry.host}/app:1", "sources": sources, "insecure": True},
            headers={"X-Registry-Auth": by_password(registry, host=False)},
        )
        document = check_problem(reply, 422, "invalid-header")
        assert "serveraddress" in document["detail"]
        assert document["errors"][0]["pointer"] == "header:X-Registry-Auth"


async def test_the_callers_credential_is_used_for_the_push_that_it_starts(broker: Broker) -> None:
    async with RegistryDouble(auth="bearer", users=USERS) as double:
        plant(double, "a", "1", make_image_for("linux/amd64"))
        body = {
            "reference": f"{double.host}/app:1",
            "sources": [f"{double.host}/a:1"],
            "insecure": True,
            "expected_platforms": ["linux/amd64"],
            "push_when_complete": True,
        }
        reply = await broker.client.post(
            "/v1/lists", json=body, headers={"X-Registry-Auth": by_password(double)}
        )
        assert (await broker.ended(reply.json()["push_operation_id"]))["state"] == "succeeded"


async def test_the_operators_credentials_are_the_default(start_broker: StartBroker, tmp_path: Path) -> None:
    async with (
        RegistryDouble(auth="bearer", users=USERS) as one,
        RegistryDouble(auth="basic", users=USERS) as two,
    ):
        config = tmp_path / "config.json"
        config.write_text(f'{{"auths": {{"{two.host}": {{"username": "user", "password": "{CANARY}"}}}}}}')
        broker = await start_broker(
            registry_credentials={one.host: {"username": "user", "password": CANARY}}, docker_config=config
        )
        for double in (one, two):
            plant(double, "a", "1", make_image())
            reply = await broker.client.get(
                "/v1/inspect", params={"reference": f"{double.host}/a:1", "insecure": "true"}
            )
            assert reply.status_code == 200, reply.text


async def test_a_callers_credential_is_stored_encrypted(
    broker: Broker, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with RegistryDouble(auth="bearer", users=USERS) as double:
        plant(double, "a", "1", make_image())
        hold = Hold()
        double.misbehave(hold, method="GET", path="/manifests/")
        body = {"reference": f"{double.host}/app:1", "sources": [f"{double.host}/a:1"], "insecure": True}
        sent = by_password(double)
        calling = asyncio.create_task(
            broker.client.post("/v1/lists", json=body, headers={"X-Registry-Auth": sent})
        )
        await wait_until_held(hold)
        during = await _everything_in(database_url)
        hold.gate.set()
        reply = await calling
        assert reply.status_code == 201
        after = await _everything_in(database_url)
    assert double.host in during
    for words in (CANARY, sent, broker.token):
        for place in (during, after, reply.text, caplog.text):
            assert words not in place
            assert words.encode().hex() not in place


async def test_a_credential_is_deleted_when_its_operation_ends(broker: Broker, database_url: str) -> None:
    async with RegistryDouble(auth="bearer", users=USERS) as double:
        plant(double, "a", "1", make_image())
        for reference in (f"{double.host}/a:1", f"{double.host}/no:1"):
            await broker.client.get(
                "/v1/inspect",
                params={"reference": reference, "insecure": "true"},
                headers={"X-Registry-Auth": by_password(double)},
            )
        async with connected(database_url) as connection:
            kept = (await connection.execute(text("SELECT secret FROM operations"))).scalars().all()
    assert kept == [None, None]


async def test_without_a_secret_key_a_callers_credential_is_rejected(start_broker: StartBroker) -> None:
    broker = await start_broker(secret_key=None)
    async with RegistryDouble(auth="basic", users=USERS) as double:
        reply = await broker.client.get(
            "/v1/inspect",
            params={"reference": f"{double.host}/a:1", "insecure": "true"},
            headers={"X-Registry-Auth": by_password(double)},
        )
        assert "BROKER_SECRET_KEY" in check_problem(reply, 422, "invalid-header")["detail"]


def by_name(name: str, place: str) -> str:
    return registry_auth({"username": name, "password": CANARY, "serveraddress": place})


@pytest.mark.parametrize("mode", ["basic", "bearer"])
@pytest.mark.parametrize("is_joined", [False, True], ids=["repeated", "joined with commas"])
async def test_source_and_target_use_an_account_each_on_two_registries(
    broker: Broker, mode: Literal["basic", "bearer"], is_joined: bool
) -> None:
    async with (
        RegistryDouble(auth=mode, users={"reader": CANARY}) as source,
        RegistryDouble(auth=mode, users={"writer": CANARY}) as target,
    ):
        plant(source, "a", "1", make_image())
        sent = [by_name("reader", source.host), by_name("writer", target.host)]
        headers = [("X-Registry-Auth", value) for value in ([", ".join(sent)] if is_joined else sent)]
        await _push(broker, f"{source.host}/a:1", f"{target.host}/app:1", headers)
        assert target.tags("app").keys() == {"1"}


@pytest.mark.parametrize("mode", ["basic", "bearer"])
@pytest.mark.parametrize("paths", [("dev", "prod"), ("", "prod"), ("dev", ""), ("dev/a", "prod/app")])
async def test_source_and_target_use_an_account_each_on_one_registry(
    broker: Broker, mode: Literal["basic", "bearer"], paths: tuple[str, str]
) -> None:
    async with RegistryDouble(auth=mode, users={"reader": CANARY, "writer": CANARY}) as double:
        assert double.authority is not None
        double.authority.grants.update(
            {"reader": {"dev/.*": {"pull"}}, "writer": {"prod/.*": {"pull", "push"}}}
        )
        plant(double, "dev/a", "1", make_image())
        places = [f"{double.host}/{path}".removesuffix("/") for path in paths]
        headers = [
            ("X-Registry-Auth", by_name(name, place))
            for name, place in zip(("reader", "writer"), places, strict=True)
        ]
        await _push(broker, f"{double.host}/dev/a:1", f"{double.host}/prod/app:1", headers)
        assert double.tags("prod/app").keys() == {"1"}


async def test_a_second_credential_that_cannot_be_read_is_named(broker: Broker) -> None:
    sent = [by_name("a", "a.test"), by_name("b", "b.test/Team")]
    reply = await broker.client.get(
        "/v1/inspect",
        params={"reference": "a.test/a:1"},
        headers=[("X-Registry-Auth", value) for value in sent],
    )
    document = check_problem(reply, 422, "invalid-header")
    assert document["errors"][0]["pointer"] == "header:X-Registry-Auth"
    assert "Credential 2 of 2" in document["detail"]
    assert "serveraddress" in document["detail"]


async def test_the_operators_credentials_may_be_for_paths(start_broker: StartBroker, tmp_path: Path) -> None:
    async with RegistryDouble(auth="bearer", users={"reader": CANARY, "writer": CANARY}) as double:
        assert double.authority is not None
        double.authority.grants.update(
            {"reader": {"dev/.*": {"pull"}}, "writer": {"prod/.*": {"pull", "push"}}}
        )
        plant(double, "dev/a", "1", make_image())
        pair = base64.b64encode(f"reader:{CANARY}".encode()).decode()
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"auths": {f"{double.host}/dev": {"auth": pair}}}))
        broker = await start_broker(
            docker_config=config,
            registry_credentials={f"{double.host}/prod": {"username": "writer", "password": CANARY}},
        )
        await _push(broker, f"{double.host}/dev/a:1", f"{double.host}/prod/app:1", [])
        assert double.tags("prod/app").keys() == {"1"}


@pytest.mark.parametrize("mode", ["basic", "bearer"])
@pytest.mark.parametrize("way", ["file", "setting", "header"])
async def test_a_key_file_is_a_password_by_every_way_in(
    start_broker: StartBroker, tmp_path: Path, mode: Literal["basic", "bearer"], way: str
) -> None:
    password = json.dumps({"type": "service_account", "private_key": "-----BEGIN\nx\n"}, indent=2) + "\n"
    async with RegistryDouble(auth=mode, users={"_json_key": password}) as double:
        plant(double, "a", "1", make_image())
        login = {"username": "_json_key", "password": password}
        config = tmp_path / "config.json"
        pair = base64.b64encode(f"_json_key:{password}".encode()).decode()
        config.write_text(json.dumps({"auths": {double.host: {"auth": pair}}} if way == "file" else {}))
        broker = await start_broker(
            docker_config=config, registry_credentials={double.host: login} if way == "setting" else {}
        )
        sent = registry_auth({**login, "serveraddress": double.host})
        headers = [("X-Registry-Auth", sent)] if way == "header" else []
        await _push(broker, f"{double.host}/a:1", f"{double.host}/app:1", headers)
        assert double.tags("app").keys() == {"1"}


async def test_an_entry_that_cannot_be_used_does_not_stop_the_broker(
    start_broker: StartBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        RegistryDouble(auth="basic", users=USERS) as good,
        RegistryDouble(auth="basic", users=USERS) as bad,
    ):
        config = tmp_path / "config.json"
        entries = {good.host: {"username": "user", "password": CANARY}, bad.host: {"auth": "no base64"}}
        config.write_text(json.dumps({"auths": entries}))
        broker = await start_broker(docker_config=config)
        assert any(bad.host in each.getMessage() for each in caplog.records if each.levelname == "WARNING")
        for double, status in ((good, 200), (bad, 403)):
            plant(double, "a", "1", make_image())
            reply = await broker.client.get(
                "/v1/inspect", params={"reference": f"{double.host}/a:1", "insecure": "true"}
            )
            assert reply.status_code == status, reply.text
        assert bad.host in check_problem(reply, 403, "registry-denied")["detail"]
        reply = await broker.client.get(
            "/v1/inspect",
            params={"reference": f"{bad.host}/a:1", "insecure": "true"},
            headers={"X-Registry-Auth": by_name("user", bad.host)},
        )
        assert reply.status_code == 200, reply.text


async def _push(broker: Broker, source: str, target: str, headers: list[tuple[str, str]]) -> None:
    body = {"reference": target, "sources": [source], "insecure": True}
    reply = await broker.client.post("/v1/lists", json=body, headers=headers)
    assert reply.status_code == 201, reply.text
    path = f"/v1/lists/{reply.json()['id']}/push"
    reply = await broker.client.post(path, json={"insecure": True}, headers=headers)
    assert reply.status_code == 200, reply.text


async def _everything_in(database_url: str) -> str:
    """Every row of every table, as in a dump."""
    async with connected(database_url) as connection:
        names = await connection.execute(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        )
        rows: list[Any] = []
        for name in names.scalars().all():
            # The table names come from the schema, not from input.
            found = await connection.execute(text(f'SELECT t::text FROM "{name}" AS t'))
            rows += found.scalars().all()
    return "\n".join(rows)
