"""Which credential is for which host, and that secrets show nowhere."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors
from app.registry.client import ANONYMOUS, Access, Credential, Keychain, parse_registry_auth

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


def test_a_credential_is_of_one_kind() -> None:
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
    # A credential for a part of a registry is not a credential for the whole registry.
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


async def test_a_new_credential_replaces_the_old_one() -> None:
    keychain = Keychain({"a.test": Credential("old", "x"), "b.test": Credential("kept", "x")})
    changed = keychain.with_credential("A.test", Credential("new", "x"))
    assert (await changed.find("a.test")).username == "new"
    assert (await changed.find("b.test")).username == "kept"
    assert (await keychain.find("a.test")).username == "old"


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
