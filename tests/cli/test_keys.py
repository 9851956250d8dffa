"""The command keys rotate: it encrypts again, and says when a key can go."""

from __future__ import annotations

import base64

from app.services.encryption import SecretBox
from tests.cli.test_tokens import manifest_broker
from tests.support.broker import Broker

OLD, NEW = b"o" * 32, b"n" * 32
OLD_ID = SecretBox(OLD).key_ids[0]


def encoded(*keys: bytes) -> str:
    return ",".join(base64.b64encode(key).decode() for key in keys)


async def test_the_rotation_says_when_an_old_key_can_go(database_url: str) -> None:
    async with Broker(database_url, worker=False, secret_key=encoded(OLD)) as broker:
        await broker.call("POST", "/v1/webhooks", {"url": "https://receiver.example.com/"}, status=201)
    ring = {"BROKER_SECRET_KEYS": encoded(NEW)}
    status, output, _ = await manifest_broker(database_url, "keys", "rotate", **ring)
    assert status == 1
    assert "1 secrets can't be decrypted" in output
    ring = {"BROKER_SECRET_KEYS": encoded(NEW, OLD)}
    for expected in ("The secrets of 1 webhooks", "The secrets of 0 webhooks"):
        status, output, _ = await manifest_broker(database_url, "keys", "rotate", **ring)
        assert (status, output.startswith(expected)) == (0, True)
        assert f"needs these keys any more: {OLD_ID}." in output
        assert encoded(OLD) not in output


async def test_a_rotation_without_a_ring_names_the_setting(database_url: str) -> None:
    status, _, errors = await manifest_broker(database_url, "keys", "rotate")
    assert status == 1
    assert "BROKER_SECRET_KEYS" in errors
