"""Rotation of the keys that encrypt the stored secrets."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from app.errors import InvalidInput
from app.services.encryption import SecretBox
from app.services.keys import Keys
from app.services.webhooks.signing import owner_of_secret
from app.store import webhooks
from app.store.database import Database
from tests.support.broker import Broker, new_token, registry_auth
from tests.support.images import make_image, plant
from tests.support.postgres import ask
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

OLD, NEW = b"o" * 32, b"n" * 32
RING = SecretBox(NEW, OLD, names_key=True)
ONLY_NEW = SecretBox(NEW, names_key=True)
USER = {"username": "ci", "password": "s3cret-of-ci"}
HOOK = {"url": "https://receiver.example.com/hooks"}
BACKGROUND = {"Prefer": "respond-async"}


@pytest.fixture
async def private() -> AsyncIterator[RegistryDouble]:
    async with RegistryDouble(auth="bearer", users={USER["username"]: USER["password"]}) as double:
        plant(double, "team/src", "1", make_image())
        yield double


def encoded(*keys: bytes) -> str:
    return ",".join(base64.b64encode(key).decode() for key in keys)


def starting(url: str, token: str, *keys: bytes, **settings: Any) -> Broker:
    """A broker with a ring of these keys, or with the single old one."""
    ring = {"secret_keys": encoded(*keys), "secret_key": None} if keys else {"secret_key": encoded(OLD)}
    return Broker(url, token=token, **ring, **settings)


def signed(double: RegistryDouble) -> dict[str, str]:
    return {"X-Registry-Auth": registry_auth({**USER, "serveraddress": double.host})}


async def new_list(broker: Broker, double: RegistryDouble, tag: str) -> str:
    body = {
        "reference": f"{double.host}/team/app:{tag}",
        "sources": [f"{double.host}/team/src:1"],
        "insecure": True,
    }
    made = await broker.client.post("/v1/lists", json=body, headers=signed(double))
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def test_all_secrets_are_encrypted_again_while_pushes_run(
    database: Database, database_url: str, private: RegistryDouble
) -> None:
    token, keys = new_token(), Keys(database, RING)
    async with starting(database_url, token) as broker:
        hook = await broker.call("POST", "/v1/webhooks", HOOK, status=201)
        await broker.call("POST", f"/v1/webhooks/{hook['id']}/rotate", {})
        lists = [await new_list(broker, private, str(number)) for number in range(6)]
    async with starting(database_url, token, NEW, OLD) as broker, asyncio.TaskGroup() as group:
        body, headers = {"insecure": True}, signed(private)
        pushes = [
            group.create_task(broker.client.post(f"/v1/lists/{each}/push", json=body, headers=headers))
            for each in lists
        ]
        first = await keys.rotate()
        while not all(push.done() for push in pushes):
            await keys.rotate()
            await asyncio.wait(pushes, return_when=asyncio.FIRST_COMPLETED)
    assert [push.result().status_code for push in pushes] == [200] * len(lists)
    assert (first.webhooks, first.others) == (1, SecretBox(OLD).key_ids)
    last = await keys.rotate()
    assert (last.webhooks, last.operations, last.unreadable, last.is_complete) == (0, 0, 0, True)
    project_id = UUID(str(await ask(database_url, "SELECT project_id FROM webhooks")))
    async with database.transaction() as tx:
        kept = await webhooks.get_webhook(tx, project_id, UUID(hook["id"]))
    for secret in (kept.secret, kept.previous_secret):
        assert secret is not None
        assert ONLY_NEW.decrypt(secret, owner_of_secret(kept.id)).startswith(b"whsec_")


async def test_an_operation_that_was_queued_under_the_old_key_runs_after_that_is_gone(
    database: Database, database_url: str, private: RegistryDouble
) -> None:
    token = new_token()
    async with starting(database_url, token) as broker:
        list_id = await new_list(broker, private, "1")
    async with starting(database_url, token, worker=False) as broker:
        path, headers = f"/v1/lists/{list_id}/push", {**signed(private), **BACKGROUND}
        queued = await broker.client.post(path, json={"insecure": True}, headers=headers)
        assert queued.status_code == 202, queued.text
    assert (await Keys(database, RING).rotate()).operations == 1
    async with starting(database_url, token, NEW) as broker:
        assert (await broker.ended(queued.json()["id"]))["state"] == "succeeded"


async def test_a_key_that_is_missing_keeps_the_rotation_incomplete(
    database: Database, database_url: str
) -> None:
    async with starting(database_url, new_token(), worker=False) as broker:
        await broker.call("POST", "/v1/webhooks", HOOK, status=201)
    done = await Keys(database, ONLY_NEW).rotate()
    assert (done.webhooks, done.unreadable, done.left, done.is_complete) == (0, 1, 1, False)
    assert (await Keys(database, RING).rotate()).is_complete


async def test_a_batch_is_bounded_and_all_batches_are_taken(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with starting(database_url, new_token(), worker=False) as broker:
        for _ in range(5):
            await broker.call("POST", "/v1/webhooks", HOOK, status=201)
    monkeypatch.setattr("app.services.keys.AT_ONCE", 2)
    assert (await Keys(database, RING).rotate()).webhooks == 5


async def test_without_a_ring_there_is_nothing_to_rotate(database: Database) -> None:
    with pytest.raises(InvalidInput, match="BROKER_SECRET_KEYS"):
        await Keys(database, SecretBox(OLD)).rotate()
