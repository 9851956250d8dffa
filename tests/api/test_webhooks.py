"""Webhooks: create, update, delete and rotate secrets."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any
from uuid import uuid4

import pytest

from app.store.database import Database
from tests.support.broker import Broker, Client, StartBroker, check_problem
from tests.support.operation_queue import until
from tests.support.postgres import ask
from tests.support.projects import find_project
from tests.support.webhook_receiver import Receiver

pytestmark = pytest.mark.slow

PATH = "/v1/webhooks"
URL = "https://receiver.example.com/hooks/1?team=a"
SHOWN = URL.replace("team=a", "team=***")


def secret_of(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(range(size))).decode()


async def made(broker: Broker, **members: object) -> Any:
    return await broker.call("POST", PATH, {"url": URL, **members}, status=201)


async def test_a_new_webhook_has_a_secret_that_is_shown_once(broker: Broker) -> None:
    body = {"url": URL, "types": ["list.pushed", "list.pushed"], "description": "deployment"}
    reply = await broker.client.post(PATH, json=body)
    assert (reply.status_code, reply.headers["Cache-Control"]) == (201, "no-store")
    new = reply.json()
    assert reply.headers["Location"] == f"{PATH}/{new['id']}"
    secret = new.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert (new["url"], new["types"], new["enabled"]) == (SHOWN, ["list.pushed"], True)
    assert await broker.call("GET", f"{PATH}/{new['id']}") == new
    assert (await broker.call("GET", PATH))["items"] == [new]


async def test_no_response_shows_the_values_of_an_addresss_query(broker: Broker) -> None:
    url = "https://hooks.example.com/in?token=canary-1&canary-2&room=a%3Dcanary-3"
    shown = "https://hooks.example.com/in?token=***&***&room=***"
    new = await made(broker, url=url)
    path = f"{PATH}/{new['id']}"
    replies = [
        new,
        await broker.call("GET", path),
        (await broker.call("GET", PATH))["items"][0],
        await broker.call("PATCH", path, {"description": "changed"}),
        # A client that reads, changes and writes sends it back.
        await broker.call("PATCH", path, {"url": shown, "description": "again"}),
    ]
    assert {reply["url"] for reply in replies} == {shown}
    assert "canary" not in str(replies)


async def test_an_address_that_is_sent_back_as_shown_stays(broker: Broker, database_url: str) -> None:
    url = "https://hooks.example.com/in?token=canary-1"
    new = await made(broker, url=url)
    await broker.call("PATCH", f"{PATH}/{new['id']}", {"url": new["url"]})
    assert await ask(database_url, "SELECT url FROM webhooks") == url
    await broker.call("PATCH", f"{PATH}/{new['id']}", {"url": "https://hooks.example.com/other?token=***"})
    assert await ask(database_url, "SELECT url FROM webhooks") == "https://hooks.example.com/other?token=***"


async def test_a_caller_can_choose_the_secret(broker: Broker) -> None:
    for size in (24, 64):
        assert (await made(broker, secret=secret_of(size)))["secret"] == secret_of(size)


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "x", secret_of(23), secret_of(65), secret_of(24)[6:], secret_of(24) + "!", "whsec_é"],
)
async def test_a_short_or_malformed_secret_is_rejected(broker: Broker, secret: str) -> None:
    reply = await broker.client.post(PATH, json={"url": URL, "secret": secret})
    assert check_problem(reply, 422, "invalid-secret")["errors"][0]["pointer"] == "/secret"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "receiver.example.com",
        "ftp://receiver.example.com/",
        "https://user@receiver.example.com/",
        "https://user:password@receiver.example.com/",
        "https://receiver.example.com/#part",
        "https://receiver.example.com:0/",
        "https://receiver.example.com:99999/",
        "https://receiver..example.com/",
        "https://-receiver.example.com/",
        "https://receiver.example.com\\@evil.example.com/",
        "https://receiver.example.com/a b",
        "https://receiver.example.com/\n",
        "https://récepteur.example.com/",
        "https:///path",
        "https://[1.2.3.4]/",
        "https://[1:2:3]/",
        "https://[12345::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[]/",
        "//receiver.example.com/",
    ],
)
async def test_a_malformed_url_is_rejected(broker: Broker, url: str) -> None:
    hook = await made(broker)
    for reply in (
        await broker.client.post(PATH, json={"url": url}),
        await broker.client.patch(f"{PATH}/{hook['id']}", json={"url": url}),
    ):
        assert check_problem(reply, 422, "invalid-receiver")["errors"][0]["pointer"] == "/url"


async def test_a_forbidden_url_is_rejected_at_once(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, allow_loopback=False)
    hook = await made(broker)
    for url in (
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://2130706433/",
        "https://0x7f000001/",
        "http://receiver.example.com/",
    ):
        for reply in (
            await broker.client.post(PATH, json={"url": url}),
            await broker.client.patch(f"{PATH}/{hook['id']}", json={"url": url}),
        ):
            assert check_problem(reply, 403, "receiver-forbidden")["errors"][0]["pointer"] == "/url"


async def test_plain_http_needs_a_host_that_the_operator_permits(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, insecure_registries=["inside.example.com"])
    url = "http://inside.example.com:8080/hook"
    assert (await made(broker, url=url))["url"] == url


async def test_with_a_list_of_receivers_all_others_are_rejected(start_broker: StartBroker) -> None:
    receivers = ["*.inside.example.com", "hooks.example.com:8443", "usual.example.com:443"]
    broker = await start_broker(worker=False, receivers=receivers)
    for url in (
        "https://a.inside.example.com/",
        "https://HOOKS.example.com:8443/",
        "https://usual.example.com/",
    ):
        await made(broker, url=url)
    for url in (
        URL,
        "https://inside.example.com/",
        "https://hooks.example.com/",
        "https://usual.example.com:8443/",
    ):
        check_problem(await broker.client.post(PATH, json={"url": url}), 403, "receiver-forbidden")


async def test_a_patch_changes_the_given_members_of_a_webhook(broker: Broker) -> None:
    hook = await made(broker, types=["list.pushed"], description="a")
    path = f"{PATH}/{hook['id']}"
    changed = await broker.call("PATCH", path, {"types": ["list.failed"], "enabled": False})
    assert (changed["types"], changed["enabled"], changed["description"]) == (["list.failed"], False, "a")
    cleared = await broker.call("PATCH", path, {"types": None, "description": None, "enabled": None})
    assert (cleared["types"], cleared["enabled"], cleared["description"]) == ([], True, "")
    assert await broker.call("PATCH", path, {}) == cleared
    assert await broker.call("GET", path) == cleared
    check_problem(await broker.client.patch(path, json={"url": None}), 422, "invalid-input")
    check_problem(await broker.client.patch(path, json={"secret": secret_of(32)}), 422, "invalid-input")


async def test_a_deleted_webhook_is_not_found(broker: Broker) -> None:
    path = f"{PATH}/{(await made(broker))['id']}"
    await broker.call("DELETE", path, status=204)
    check_problem(await broker.client.get(path), 404, "webhook-not-found")
    check_problem(await broker.client.delete(path), 404, "webhook-not-found")


async def test_webhooks_are_paged_newest_first(broker: Broker) -> None:
    hooks = [(await made(broker))["id"] for _ in range(3)]
    first = await broker.call("GET", f"{PATH}?limit=2")
    second = await broker.call("GET", f"{PATH}?limit=2&cursor={first['next_cursor']}")
    assert [each["id"] for each in (*first["items"], *second["items"])] == hooks[::-1]
    assert second["next_cursor"] is None


async def test_the_limit_of_webhooks_holds_for_concurrent_creates(broker: Broker) -> None:
    replies = await asyncio.gather(*(broker.client.post(PATH, json={"url": URL}) for _ in range(120)))
    refused = [reply for reply in replies if reply.status_code != 201]
    assert len(replies) - len(refused) == 32
    for reply in refused:
        check_problem(reply, 409, "too-many-webhooks")


async def test_without_a_secret_key_a_webhook_is_rejected(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, secret_key=None)
    check_problem(await broker.client.post(PATH, json={"url": URL}), 409, "no-secret-key")


async def test_resources_of_another_project_are_not_found(
    start_broker: StartBroker, database: Database, database_url: str
) -> None:
    broker = await start_broker(worker=False)
    await broker.call("POST", "/v1/projects", {"name": "other"}, status=201)
    hook = await made(broker, enabled=True)
    await (await find_project(database, database_url)).record_events("mine")
    (delivery,) = (await broker.call("GET", f"{PATH}/{hook['id']}/deliveries"))["items"]
    own = f"{PATH}/{{}}/deliveries/{delivery['id']}"
    async with broker.client_with(await broker.new_token("other")) as client:
        for method, path, body in (
            ("GET", f"{PATH}/{{}}", None),
            ("PATCH", f"{PATH}/{{}}", {}),
            ("PATCH", f"{PATH}/{{}}", {"enabled": False}),
            ("DELETE", f"{PATH}/{{}}", None),
            ("POST", f"{PATH}/{{}}/rotate", {}),
            ("POST", f"{PATH}/{{}}/test", None),
            ("POST", f"{PATH}/{{}}/replay", {}),
            ("GET", f"{PATH}/{{}}/deliveries", None),
            ("GET", own, None),
            ("POST", f"{own}/replay", None),
        ):
            await _are_alike(client, method, path, hook["id"], body)
        assert (await client.get(PATH)).json()["items"] == []
        theirs = (await client.post(PATH, json={"url": URL})).json()
        # A delivery is found only at its own webhook.
        path = f"{PATH}/{theirs['id']}/deliveries/{{}}"
        await _are_alike(client, "GET", path, delivery["id"], None)
        await _are_alike(client, "POST", f"{path}/replay", delivery["id"], None)
    assert (await broker.call("GET", f"{PATH}/{hook['id']}"))["enabled"]


async def _are_alike(client: Client, method: str, path: str, own: str, body: object) -> None:
    answers = []
    for identity in (own, str(uuid4())):
        reply = await client.request(method, path.format(identity), json=body)
        answers.append((reply.status_code, reply.text.replace(identity, "ID")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


async def test_the_path_of_a_webhook_url_is_not_logged(
    broker: Broker, database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """For many receivers, the path is the secret."""
    caplog.set_level(logging.DEBUG)
    async with Receiver() as receiver:
        await made(broker, url=f"{receiver.url}/canary-path?canary-query")
        await (await find_project(database, database_url)).record_events("a")
        await until(lambda: len(receiver.accepted) == 1)
    assert f"POST http://{receiver.host}" in caplog.text
    assert "canary" not in caplog.text


async def test_a_secret_is_in_no_response_log_line_or_table(
    broker: Broker, database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = secret_of(33)
    key = secret.removeprefix("whsec_")
    async with Receiver() as receiver:
        hook = await made(broker, url=receiver.url, secret=secret)
        project = await find_project(database, database_url)
        await project.record_events("a")
        await until(lambda: len(receiver.accepted) == 1)
        path = f"{PATH}/{hook['id']}"
        shown = (path, PATH, f"{path}/deliveries", "/v1/operations?kind=deliver", "/v1/events/history")
        answers = [(await broker.client.get(each)).text for each in shown]
        answers.append((await broker.client.patch(path, json={"description": "b"})).text)
        answers.append((await broker.client.post(f"{path}/test")).text)
        answers.append((await broker.client.post(PATH, json={"url": URL, "secret": f"{secret}!"})).text)
    tables = ("webhooks", "webhook_deliveries", "operations", "operation_events", "project_events")
    question = "SELECT coalesce(jsonb_agg(t), '[]') FROM {} t"
    kept = [str(await ask(database_url, question.format(table))) for table in tables]
    raw = await ask(database_url, "SELECT secret FROM webhooks")
    assert isinstance(raw, bytes)
    assert secret.encode() not in raw
    assert not [each for each in [*answers, *kept, caplog.text] if key in each]
