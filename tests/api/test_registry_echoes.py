"""Registries that repeat a credential: neither an answer, nor the database, nor the log shows it."""

from __future__ import annotations

import logging
from typing import Any, Literal

import httpx2
import pytest
from sqlalchemy import text

from app.logs import configure_logging
from tests.support.broker import Broker, StartBroker, check_problem, registry_auth
from tests.support.images import make_image, plant
from tests.support.postgres import connected
from tests.support.registry import RegistryDouble
from tests.support.registry_double.echoes import Echo, Place
from tests.support.secret_forms import FORMS

pytestmark = pytest.mark.slow

SECRET = "Canary-7f3a+pass/word"
PLACES: list[Place] = ["message", "code", "text", "content type", "redirect", "realm", "upload", "warning"]


async def _inspect(broker: Broker, reference: str, headers: dict[str, str] | None = None) -> httpx2.Response:
    return await broker.client.get(
        "/v1/inspect", params={"reference": reference, "insecure": "true"}, headers=headers or {}
    )


def _own(registry: RegistryDouble) -> dict[str, str]:
    login = {"username": "user", "password": SECRET, "serveraddress": registry.host}
    return {"X-Registry-Auth": registry_auth(login)}


async def _stored(database_url: str) -> str:
    async with connected(database_url) as connection:
        names = await connection.execute(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        )
        rows = [
            row[0]
            for name in names.scalars().all()
            for row in (await connection.execute(text(f'SELECT t::text FROM "{name}" t'))).all()
        ]
    return "\n".join(rows)


def _check_hidden(secret: str, *places: str) -> None:
    pieces = {secret[start : start + 8].lower() for start in range(len(secret) - 7)}
    for place in places:
        assert not [piece for piece in pieces if piece in place.lower()]


@pytest.mark.parametrize("mode", ["basic", "bearer"])
async def test_no_form_of_the_callers_secret_comes_back(
    broker: Broker,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    mode: Literal["basic", "bearer"],
) -> None:
    configure_logging("debug", "json")
    replies: list[tuple[str, str]] = []
    async with RegistryDouble(auth=mode, users={"user": SECRET}) as double:
        for name, form in FORMS.items():
            rule = double.misbehave(echo := Echo(form), method="GET", path="/manifests/", times=None)
            reply = await _inspect(broker, f"{double.host}/a:1", _own(double))
            document = check_problem(reply, 403, "registry-denied")
            assert document["upstream_code"] == "DENIED", name
            assert echo.seen
            replies += [(form(each), reply.text) for each in echo.seen]
            rule.stop()
    stored, logged = await _stored(database_url), capsys.readouterr().err
    assert "registry-denied" in stored
    assert logged
    for said, answer in replies:
        assert said not in answer
        assert said not in stored
        assert said not in logged


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("is_own", [True, False], ids=["the caller's", "the operator's"])
async def test_no_place_of_an_answer_shows_the_secret(
    start_broker: StartBroker,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    place: Place,
    is_own: bool,
) -> None:
    secret = "canary7f3apassword"
    async with RegistryDouble(auth="basic", users={"user": secret}) as double:
        settings: dict[str, Any] = {"username": "user", "password": secret}
        broker = await start_broker(registry_credentials={} if is_own else {double.host: settings})
        configure_logging("debug", "json")
        login = {"X-Registry-Auth": registry_auth({**settings, "serveraddress": double.host})}
        headers = login if is_own else {}
        plant(double, "a", "1", make_image())
        made = (
            await broker.create(f"{double.host}/app:1", f"{double.host}/a:1", status=201)
            if not is_own
            else None
        )
        echo = Echo(place=place)
        path = "/blobs/uploads/" if place == "upload" else "/(manifests|blobs)/"
        double.misbehave(echo, path=path, times=None, optional=True)
        replies = [await _inspect(broker, f"{double.host}/a:1", headers)]
        if made is not None:
            replies.append(await broker.client.post(f"/v1/lists/{made['id']}/push", json={"insecure": True}))
        stored = await _stored(database_url)
    _check_hidden(secret, *(reply.text for reply in replies), stored, capsys.readouterr().err)
    assert any(double.journal)


async def test_the_operators_credential_hides_all_words_of_the_registry(
    start_broker: StartBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    async with RegistryDouble(auth="bearer", users={"user": SECRET}) as double:
        broker = await start_broker(
            registry_credentials={double.host: {"username": "user", "password": SECRET}}
        )
        configure_logging("info", "json")
        # No search could know this form: the letters are in another order.
        double.misbehave(Echo(lambda secret: secret[::-1]), method="GET", path="/manifests/", times=None)
        reply = await _inspect(broker, f"{double.host}/a:1")
        document = check_problem(reply, 403, "registry-denied")
        assert document["upstream_code"] == "DENIED"
        assert document["upstream_status"] == 403
        assert "user" not in document["detail"].replace(double.host, "")
        _check_hidden(SECRET[::-1], reply.text)
    # The operator still learns what the registry says.
    assert "answered 403 to the GET of" in capsys.readouterr().err


async def test_a_token_service_that_repeats_the_password_is_not_quoted(broker: Broker) -> None:
    async with RegistryDouble(auth="bearer", users={"user": SECRET}) as double:
        for form in FORMS.values():
            rule = double.misbehave(Echo(form, status=401), path="/token", times=None)
            reply = await _inspect(broker, f"{double.host}/a:1", _own(double))
            check_problem(reply, 403, "registry-denied")
            assert form(SECRET) not in reply.text
            rule.stop()


async def test_an_identity_token_is_not_repeated(broker: Broker) -> None:
    token = "opaque-1dentity-t0ken"
    async with RegistryDouble(auth="bearer", users={"user": SECRET}) as double:
        assert double.authority is not None
        double.authority.identity_tokens[token] = "user"
        sent = registry_auth({"identitytoken": token, "serveraddress": double.host})
        for form in FORMS.values():
            rule = double.misbehave(Echo(lambda _, form=form: form(token)), path="/manifests/", times=None)  # type: ignore[misc]
            reply = await _inspect(broker, f"{double.host}/a:1", {"X-Registry-Auth": sent})
            check_problem(reply, 403, "registry-denied")
            assert form(token) not in reply.text
            rule.stop()


async def test_words_without_a_secret_are_still_quoted_to_the_owner_of_the_credential(broker: Broker) -> None:
    async with RegistryDouble(auth="basic", users={"user": SECRET}) as double:
        double.misbehave(Echo(lambda _: "of the night shift"), method="GET", path="/manifests/", times=None)
        reply = await _inspect(broker, f"{double.host}/a:1", _own(double))
    assert "user of the night shift no" in check_problem(reply, 403, "registry-denied")["detail"]


async def test_a_traceback_in_the_log_has_no_secret(
    broker: Broker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging("info", "json")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"can't handle user:{SECRET}")

    async with RegistryDouble(auth="basic", users={"user": SECRET}) as double:
        monkeypatch.setattr("app.registry.content.manifests._check_kind", fail)
        plant(double, "a", "1", make_image())
        reply = await _inspect(broker, f"{double.host}/a:1", _own(double))
    assert reply.status_code == 500
    logged = capsys.readouterr().err
    assert "can't handle" in logged
    _check_hidden(SECRET, logged)
    logging.getLogger().handlers.clear()
