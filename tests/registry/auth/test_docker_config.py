"""Docker's config.json, as Docker, podman and crane read it."""

from __future__ import annotations

import base64
import json

import pytest

from app import errors
from app.registry.client import ANONYMOUS, Credential, Keychain

CANARY = "canary-5ecret"
KEY_FILE = json.dumps({"type": "service_account", "private_key": "-----BEGIN\nx\n"}, indent=2) + "\n"


def login(name: str, password: str = CANARY) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{name}:{password}".encode()).decode()}


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
    assert await keychain.find("quay.io", "team/app") == Credential("user", "pa:ss")
    assert await keychain.find("quay.io", "team2/app") == ANONYMOUS


@pytest.mark.parametrize(
    ("key", "path", "is_found"),
    [
        ("a.test/team", "team/app", True),
        ("a.test/team/", "team/app", True),
        ("a.test/team/app", "team/app", True),
        ("a.test/team", "other/app", False),
        ("a.test/tea", "team/app", False),
        # Docker and podman read a URL as its host.
        ("https://a.test/team", "other/app", True),
        ("http://A.test/team/", "", True),
        ("a.test/v2/", "other/app", True),
        ("a.test/Team", "team/app", False),
        ("user@a.test", "team/app", False),
    ],
)
async def test_a_key_may_name_a_path(key: str, path: str, is_found: bool) -> None:
    keychain = Keychain.from_docker_config({"auths": {key: login("user")}})
    assert (await keychain.find("a.test", path) != ANONYMOUS) is is_found


@pytest.mark.parametrize("is_reversed", [True, False])
async def test_a_plain_host_comes_before_a_url_of_it(is_reversed: bool) -> None:
    entries = [("https://a.test/v1/", login("url")), ("a.test", login("host"))]
    keychain = Keychain.from_docker_config({"auths": dict(reversed(entries) if is_reversed else entries)})
    assert (await keychain.find("a.test")).username == "host"


async def test_an_empty_entry_hides_no_other() -> None:
    keychain = Keychain.from_docker_config(
        {"auths": {"https://a.test": login("url"), "a.test": {}, "b.test": None}}
    )
    assert (await keychain.find("a.test")).username == "url"
    assert await keychain.find("b.test") == ANONYMOUS


@pytest.mark.parametrize(
    "pair",
    [
        f"_json_key:{KEY_FILE}".encode(),
        b"_json_key:" + KEY_FILE.replace("\n", "\r\n").encode(),
        b"user:tab\tand\x01\x7f",
        b"us\ner:pass",
        b"user:\xe9 in Latin-1",
        b"\xe9ric:pass",
        "user:p\u00e4ss".encode(),
    ],
)
async def test_whatever_basic_can_carry_is_sent_as_it_is(pair: bytes) -> None:
    wrapped = base64.encodebytes(pair).decode()
    assert wrapped.endswith("\n")
    for auth in (base64.b64encode(pair).decode(), wrapped):
        keychain = Keychain.from_docker_config({"auths": {"a.test": {"auth": auth}}})
        found = await keychain.find("a.test")
        assert found.basic == f"Basic {base64.b64encode(pair).decode()}"
        found.shown_name.encode()


@pytest.mark.parametrize(
    "entry",
    [
        "text",
        [],
        {"auth": "not base64!"},
        {"auth": base64.b64encode(b"no colon").decode()},
        {"username": 1},
        {"username": "a:b", "password": CANARY},
        {"username": "\ud800", "password": CANARY},
        {"registrytoken": "a b"},
    ],
)
async def test_an_entry_that_cannot_be_used_disables_its_registry_alone(
    entry: object, caplog: pytest.LogCaptureFixture
) -> None:
    auths = {"good.test": login("good"), "bad.test": entry, "good.test/team": login("team")}
    keychain = Keychain.from_docker_config({"auths": auths})
    assert (await keychain.find("good.test")).username == "good"
    assert (await keychain.find("good.test", "team/app")).username == "team"
    assert await keychain.find("other.test") == ANONYMOUS
    with pytest.raises(errors.RegistryDenied, match=r"bad\.test"):
        await keychain.find("bad.test", "team/app")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "bad.test" in record.getMessage()
    assert CANARY not in caplog.text


async def test_a_helper_that_cannot_be_used_disables_its_registry_alone() -> None:
    config = {
        "credHelpers": {"bad.test": "../../bin/sh"},
        "auths": {"bad.test": login("x"), "a.test": login("a")},
    }
    keychain = Keychain.from_docker_config(config)
    assert (await keychain.find("a.test")).username == "a"
    with pytest.raises(errors.RegistryDenied, match="helper"):
        await keychain.find("bad.test")


async def test_a_key_that_names_no_registry_is_skipped_and_its_password_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keychain = Keychain.from_docker_config({"auths": {f"user:{CANARY}@a.test": {}, "b.test": login("b")}})
    assert (await keychain.find("b.test")).username == "b"
    assert "a.test" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize("document", [{"auths": []}, {"credHelpers": "x"}, {"credsStore": "a b"}])
def test_a_docker_config_that_cannot_be_read_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidInput):
        Keychain.from_docker_config(document)
