"""Docker's credential helpers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app import errors
from app.registry.auth.helpers import HelperCache
from app.registry.client import ANONYMOUS, Credential, Keychain, Limits
from tests.support.registry_clients import Clock


def install_helper(directory: Path, script: str) -> None:
    helper = directory / "docker-credential-test"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def install_counting_helper(directory: Path) -> Path:
    """A helper that gives another secret each time; its log holds the hosts it was asked for."""
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


async def test_concurrent_callers_ask_a_helper_once(helpers: Path) -> None:
    log = install_counting_helper(helpers)
    keychain = Keychain.from_docker_config({"credsStore": "test"})
    found = await asyncio.gather(*(keychain.find("a.test") for _ in range(20)))
    assert set(found) == {Credential("user", "secret-1")}
    assert log.read_text().split() == ["a.test"]


async def test_a_helper_is_asked_again_after_an_hour(helpers: Path) -> None:
    install_counting_helper(helpers)
    clock = Clock()
    keychain = Keychain.from_docker_config({"credsStore": "test"}, cache=HelperCache(Limits(), clock))
    await keychain.find("a.test")
    clock.pass_by(3599)
    assert await keychain.find("a.test") == Credential("user", "secret-1")
    clock.pass_by(1)
    assert await keychain.find("a.test") == Credential("user", "secret-2")


async def test_a_helper_is_asked_again_after_a_refusal_but_not_each_time(helpers: Path) -> None:
    log = install_counting_helper(helpers)
    clock = Clock()
    keychain = Keychain.from_docker_config({"credsStore": "test"}, cache=HelperCache(Limits(), clock))
    first = await keychain.find("a.test")
    assert await keychain.find("a.test", refused=first) == first
    clock.pass_by(60)
    second = await keychain.find("a.test", refused=first)
    assert second == Credential("user", "secret-2")
    # A caller that was refused the first secret meanwhile gets the cached one.
    clock.pass_by(60)
    assert await keychain.find("a.test", refused=first) == second
    assert len(log.read_text().split()) == 2


async def test_a_store_answers_for_all_hosts_and_may_give_identity_tokens(helpers: Path) -> None:
    install_helper(helpers, """echo '{"ServerURL":"x","Username":"<token>","Secret":"id"}'""")
    keychain = Keychain.from_docker_config({"auths": {"a.test": {}}, "credsStore": "test"})
    assert await keychain.find("a.test") == Credential(identity_token="id")


async def test_a_helper_without_the_host_means_anonymous(helpers: Path) -> None:
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
    keychain = Keychain.from_docker_config(
        {"credsStore": "test"}, cache=HelperCache(Limits(helper_seconds=0.2))
    )
    with pytest.raises(errors.RegistryTimeout, match="docker-credential-test"):
        await keychain.find("a.test")
