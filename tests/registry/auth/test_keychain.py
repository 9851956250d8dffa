"""Which credential is for which repository."""

from __future__ import annotations

import pytest

from app import errors
from app.registry.client import ANONYMOUS, Credential, Keychain

CANARY = "canary-5ecret"


def of(name: str) -> Credential:
    return Credential(name, CANARY)


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


async def test_a_new_credential_replaces_the_old_one() -> None:
    keychain = Keychain({"a.test": Credential("old", "x"), "b.test": Credential("kept", "x")})
    changed = keychain.with_credential("A.test", Credential("new", "x"))
    assert (await changed.find("a.test")).username == "new"
    assert (await changed.find("b.test")).username == "kept"
    assert (await keychain.find("a.test")).username == "old"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("team/app", "app"),
        ("team/app/base", "app"),
        ("team/app2", "team"),
        ("team", "team"),
        ("team2/app", "host"),
        ("other/team/app", "host"),
        ("app", "host"),
        ("", "host"),
    ],
)
async def test_the_longest_path_that_covers_a_repository_wins(path: str, name: str) -> None:
    keychain = Keychain({"A.test/team/app": of("app"), "a.test": of("host"), "a.test/team": of("team")})
    assert (await keychain.find("a.test", path)).username == name
    assert await keychain.find("b.test", path) == ANONYMOUS


async def test_a_credential_for_a_path_is_not_for_the_rest_of_the_registry() -> None:
    keychain = Keychain({"a.test/team": of("team")})
    for path in ("", "other", "team2", "tea"):
        assert await keychain.find("a.test", path) == ANONYMOUS
    assert await keychain.find("a.test:444", "team/app") == ANONYMOUS


async def test_docker_hub_has_paths_under_all_its_names() -> None:
    keychain = Keychain({"index.docker.io/team": of("team")})
    for registry in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        assert (await keychain.find(registry, "team/app")).username == "team"
        assert await keychain.find(registry, "library/team") == ANONYMOUS


async def test_the_callers_own_credential_comes_before_a_longer_path_of_the_operator() -> None:
    operators = Keychain({"a.test/team": of("operator"), "b.test": of("kept")})
    keychain = operators.with_own({"a.test": of("own"), "a.test/team/app": of("closer")})
    assert (await keychain.find("a.test", "team/x")).username == "own"
    assert (await keychain.find("a.test", "team/app")).username == "closer"
    assert (await keychain.find("b.test", "team/app")).username == "kept"
    assert (await operators.find("a.test", "team/app")).username == "operator"


async def test_a_caller_may_ask_to_be_anonymous() -> None:
    keychain = Keychain({"a.test": of("operator")}, default_helper="none").with_own({"a.test": ANONYMOUS})
    assert await keychain.find("a.test", "team/app") == ANONYMOUS


async def test_an_entry_that_cannot_be_used_is_not_replaced_by_another_account() -> None:
    keychain = Keychain({"a.test": of("host")}, unusable={"a.test/team": "It is broken."})
    with pytest.raises(errors.RegistryDenied, match=r"a\.test/team can't be used. It is broken") as caught:
        await keychain.find("a.test", "team/app")
    assert caught.value.members["registry"] == "a.test"
    assert (await keychain.find("a.test", "other")).username == "host"
    own = keychain.with_own({"a.test": of("own")})
    assert (await own.find("a.test", "team/app")).username == "own"
    mended = keychain.with_credential("a.test/team", of("mended"))
    assert (await mended.find("a.test", "team/app")).username == "mended"
