"""The credentials that the operator sets: one that can't be used disables its own registry alone."""

from __future__ import annotations

import json
import logging

import pytest

from app.errors import InvalidInput, RegistryDenied
from app.settings import Settings
from app.wiring.tls_and_credentials import read_keychain

KEY_FILE = '{\n  "type": "service_account",\n  "private_key": "-----BEGIN\\nMII"\n}\n'


def settings_with(credentials: object, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("BROKER_REGISTRY_CREDENTIALS", json.dumps(credentials))
    return Settings()


@pytest.mark.parametrize(
    ("username", "password"),
    [("_json_key", KEY_FILE), ("user", ""), ("", "password"), ("ü", "a:b\tc\u0000d"), ("user", "a\r\n")],
)
async def test_a_setting_may_hold_whatever_basic_can_carry(
    username: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"a.example": {"username": username, "password": password}}
    keychain = read_keychain(settings_with(given, monkeypatch))
    found = await keychain.find("a.example", "team/app")
    assert (found.username, found.password) == (username, password)


@pytest.mark.parametrize(
    "unusable",
    [
        {"username": "a:b", "password": "canary"},
        {"identity_token": "canary\n"},
        {"registry_token": "canary canary"},
        {"username": "a", "password": "\ud800canary"},
    ],
)
@pytest.mark.parametrize("place", ["a.example", "a.example/team"])
async def test_a_credential_that_no_request_can_carry_disables_its_own_place(
    unusable: object, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given = {place: unusable, "b.example": {"username": "b", "password": "b"}}
    with caplog.at_level(logging.WARNING):
        keychain = read_keychain(settings_with(given, monkeypatch))
    assert f"{place} can't be used" in caplog.text
    assert "canary" not in caplog.text
    assert (await keychain.find("b.example", "x")).username == "b"
    with pytest.raises(RegistryDenied, match=r"BROKER_REGISTRY_CREDENTIALS is not valid for a\.example"):
        await keychain.find("a.example", "team/app")
    if place != "a.example":
        assert (await keychain.find("a.example", "other/app")).is_anonymous


def test_a_key_that_names_no_registry_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"a.example/Team": {"username": "a", "password": "b"}}
    with pytest.raises(InvalidInput, match=r"a\.example/Team"):
        read_keychain(settings_with(given, monkeypatch))
