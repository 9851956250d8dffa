"""Whose credentials are used where, and that they show nowhere."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors
from app.registry.auth.helpers import Helpers
from app.registry.client import ANONYMOUS, Access, Credential, Keychain, Limits, parse_registry_auth
from tests.support.registry_clients import Clock

CANARY = "canary-5ecret"


def encode(document: object, *, urlsafe: bool = True, padded: bool = True) -> str:
    raw = json.dumps(document).encode()
    text = (base64.urlsafe_b64encode(raw) if urlsafe else base64.b64encode(raw)).decode()
    return text if padded else text.rstrip("=")


@pytest.mark.parametrize(
    "credential",
    [
        Credential("user", CANARY),
        Credential(identity_token=CANARY),
        Credential(registry_token=CANARY),
    ],
)
def test_a_secret_never_renders(credential: Credential) -> None:
    keychain = Keychain({"reg.test": credential})
    for shown in (repr(credential), str(credential), f"{credential}", repr(keychain), repr(Access(keychain))):
        assert CANARY not in shown


def test_a_credential_is_one_way_to_say_who_asks() -> None:
    with pytest.raises(ValueError, match="one of"):
        Credential("user", "password", identity_token="token")
    for username, password in (("a:b", "c"), ("a\nb", "c"), ("a", "b\r\nHost: evil")):
        with pytest.raises(ValueError, match="colon"):
            Credential(username, password)
    assert Credential().is_anonymous


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("ghcr.io", True),
        ("GHCR.io", True),
        ("ghcr.io:443", True),
        ("ghcr.io:444", False),
        ("evilghcr.io", False),
        ("ghcr.io.evil.test", False),
        ("sub.ghcr.io", False),
        ("io", False),
    ],
)
async def test_a_credential_is_for_exactly_one_host(asked: str, found: bool) -> None:
    keychain = Keychain({"ghcr.io": Credential("user", CANARY)})
    assert ((await keychain.find(asked)) != ANONYMOUS) is found


@pytest.mark.parametrize(
    "key",
    [
        "docker.io",
        "index.docker.io",
        "https://index.docker.io/v1/",
        "registry-1.docker.io",
        "index.docker.io/v1/",
    ],
)
async def test_docker_hub_has_one_credential_under_all_its_names(key: str) -> None:
    keychain = Keychain.from_docker_config({"auths": {key: {"username": "user", "password": CANARY}}})
    for asked in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        assert (await keychain.find(asked)).username == "user"


async def test_a_docker_config_is_read_in_all_its_spellings() -> None:
    pair = base64.b64encode(b"user:pa:ss").decode()
    keychain = Keychain.from_docker_config(
        {
            "auths": {
                "auth.test": {"auth": pair},
                "https://plain.test/v2/": {"username": "user", "password": "pass"},
                "identity.test": {"auth": pair, "identitytoken": "id"},
                "token.test:5000": {"registrytoken": "reg"},
                "empty.test": {},
                "quay.io/team": {"auth": pair},
            },
            "HttpHeaders": {"User-Agent": "Docker"},
        }
    )
    assert await keychain.find("auth.test") == Credential("user", "pa:ss")
    assert await keychain.find("plain.test") == Credential("user", "pass")
    assert await keychain.find("identity.test") == Credential(identity_token="id")
    assert await keychain.find("token.test:5000") == Credential(registry_token="reg")
    assert await keychain.find("empty.test") == ANONYMOUS
    # A credential for a part of a registry is not one for all of it.
    assert await keychain.find("quay.io") == ANONYMOUS


@pytest.mark.parametrize(
    "document",
    [
        {"auths": []},
        {"auths": {"a.test": "text"}},
        {"auths": {"a.test": {"auth": "not base64!"}}},
        {"auths": {"a.test": {"auth": base64.b64encode(b"no colon").decode()}}},
        {"auths": {"a.test": {"username": 1}}},
        {"credHelpers": {"a.test": "../../bin/sh"}},
        {"credsStore": "a b"},
    ],
)
def test_a_docker_config_that_cannot_be_read_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidInput):
        Keychain.from_docker_config(document)


async def test_another_credential_goes_before_what_was_there() -> None:
    keychain = Keychain({"a.test": Credential("old", "x"), "b.test": Credential("kept", "x")})
    changed = keychain.with_credential("A.test", Credential("new", "x"))
    assert (await changed.find("a.test")).username == "new"
    assert (await changed.find("b.test")).username == "kept"
    assert (await keychain.find("a.test")).username == "old"


# --- X-Registry-Auth ---


@pytest.mark.parametrize("urlsafe", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_the_header_is_read_in_every_base64(urlsafe: bool, padded: bool) -> None:
    document = {"username": "üser?>", "password": CANARY, "serveraddress": "https://Reg.test:5000/v2/"}
    header = encode(document, urlsafe=urlsafe, padded=padded)
    assert parse_registry_auth(header) == ("reg.test:5000", Credential("üser?>", CANARY))


def test_the_header_may_hold_tokens_or_nothing() -> None:
    assert parse_registry_auth(encode({"identitytoken": "i"})) == (None, Credential(identity_token="i"))
    assert parse_registry_auth(encode({"registrytoken": "r"})) == (None, Credential(registry_token="r"))
    assert parse_registry_auth(encode({})) == (None, ANONYMOUS)
    assert parse_registry_auth(encode({"username": "u", "password": "p", "identitytoken": "i"})) == (
        None,
        Credential(identity_token="i"),
    )


@pytest.mark.parametrize(
    "header",
    [
        "!!!",
        "e30=e30=",
        encode([]),
        encode("text"),
        encode({"username": 5}),
        encode({"username": "a:b", "password": CANARY}),
        encode({"username": "a", "password": "x\r\nHost: evil"}),
        encode({"username": "a", "password": CANARY, "serveraddress": "https://a.test/some/path"}),
        encode({"username": "a", "password": CANARY, "serveraddress": "user@a.test"}),
        base64.b64encode(b"{" + CANARY.encode()).decode(),
        base64.b64encode(b"[" * 20000).decode(),
        "A" * 100_000,
    ],
)
def test_a_bad_header_is_refused_by_name_and_never_quoted(header: str) -> None:
    with pytest.raises(errors.InvalidHeader) as caught:
        parse_registry_auth(header)
    assert caught.value.errors[0].pointer == "header:X-Registry-Auth"
    assert CANARY not in str(caught.value.document())


@given(st.text(max_size=200))
def test_any_header_is_read_or_refused(header: str) -> None:
    # Passes if nothing raises.
    with contextlib.suppress(errors.InvalidHeader):
        parse_registry_auth(header)


# --- credential helpers ---


def install_helper(directory: Path, script: str) -> None:
    helper = directory / "docker-credential-test"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def install_counting_helper(directory: Path) -> Path:
    """One that gives another secret each time; the log says for whom it was asked."""
    log = directory / "asked"
    answer = """printf '{"Username":"user","Secret":"secret-%s"}'"""
    install_helper(directory, f"cat >> {log}; echo >> {log}; {answer} $(wc -l < {log})")
    return log


async def test_a_helper_is_asked_for_its_host_only_and_its_answer_kept(helpers: Path) -> None:
    log = install_counting_helper(helpers)
    keychain = Keychain.from_docker_config({"credHelpers": {"a.test": "test"}})
    derived = keychain.with_credential("c.test", Credential("other", "x"))
    for _ in range(3):
        assert await keychain.find("a.test") == await derived.find("a.test") == Credential("user", "secret-1")
    assert await keychain.find("b.test") == ANONYMOUS
    assert log.read_text().split() == ["a.test"]


async def test_many_who_need_it_at_once_ask_a_helper_once(helpers: Path) -> None:
    log = install_counting_helper(helpers)
    keychain = Keychain.from_docker_config({"credsStore": "test"})
    found = await asyncio.gather(*(keychain.find("a.test") for _ in range(20)))
    assert set(found) == {Credential("user", "secret-1")}
    assert log.read_text().split() == ["a.test"]


async def test_a_helper_is_asked_again_after_an_hour(helpers: Path) -> None:
    install_counting_helper(helpers)
    clock = Clock()
    keychain = Keychain.from_docker_config({"credsStore": "test"}, asked=Helpers(Limits(), clock))
    await keychain.find("a.test")
    clock.pass_by(3599)
    assert await keychain.find("a.test") == Credential("user", "secret-1")
    clock.pass_by(1)
    assert await keychain.find("a.test") == Credential("user", "secret-2")


async def test_a_helper_is_asked_again_for_what_is_refused_but_not_all_the_time(helpers: Path) -> None:
    log = install_counting_helper(helpers)
    clock = Clock()
    keychain = Keychain.from_docker_config({"credsStore": "test"}, asked=Helpers(Limits(), clock))
    first = await keychain.find("a.test")
    assert await keychain.find("a.test", refused=first) == first
    clock.pass_by(60)
    second = await keychain.find("a.test", refused=first)
    assert second == Credential("user", "secret-2")
    # Who was refused the first one meanwhile takes the one that is there.
    clock.pass_by(60)
    assert await keychain.find("a.test", refused=first) == second
    assert len(log.read_text().split()) == 2


async def test_a_store_answers_for_all_hosts_and_may_give_identity_tokens(helpers: Path) -> None:
    install_helper(helpers, """echo '{"ServerURL":"x","Username":"<token>","Secret":"id"}'""")
    keychain = Keychain.from_docker_config({"auths": {"a.test": {}}, "credsStore": "test"})
    assert await keychain.find("a.test") == Credential(identity_token="id")


async def test_a_helper_without_the_host_means_nobody(helpers: Path) -> None:
    install_helper(helpers, "echo 'credentials not found in native keychain'; exit 1")
    keychain = Keychain.from_docker_config({"credsStore": "test"})
    assert await keychain.find("a.test") == ANONYMOUS


@pytest.mark.parametrize("script", ["exit 3", "echo nonsense", "echo '[]'", "echo '{\"Username\": 1}'"])
async def test_a_broken_helper_is_named(helpers: Path, script: str) -> None:
    install_helper(helpers, script)
    keychain = Keychain.from_docker_config({"credsStore": "test"})
    with pytest.raises(errors.RegistryDenied, match="docker-credential-test"):
        await keychain.find("a.test")


async def test_a_missing_helper_is_named(helpers: Path) -> None:
    keychain = Keychain.from_docker_config({"credsStore": "absent"})
    with pytest.raises(errors.RegistryDenied, match="docker-credential-absent"):
        await keychain.find("a.test")


async def test_a_helper_that_hangs_is_ended(helpers: Path) -> None:
    install_helper(helpers, "exec sleep 60")
    keychain = Keychain.from_docker_config({"credsStore": "test"}, asked=Helpers(Limits(helper_seconds=0.2)))
    with pytest.raises(errors.RegistryTimeout, match="docker-credential-test"):
        await keychain.find("a.test")
