"""The embedded Postgres starts, keeps its data, and never outlives its owner."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from app.store.embedded import EmbeddedPostgres, EmbeddedPostgresError, postgres_on
from app.store.embedded.account import account_for
from app.store.embedded.binaries import find_binaries
from app.store.embedded.processes import started_at
from tests.support.embedded_postgres import (
    embedded,
    is_stopped,
    mode_of,
    names_in,
    owner_of,
    postmaster_of,
    run_as,
    socket_of,
    start_owner,
    wait_until,
    wait_until_gone,
)
from tests.support.postgres import ask, connected, execute, passable_directory

pytestmark = pytest.mark.slow

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a child that its parent was killed"
)


@pytest.fixture
def root() -> Iterator[Path]:
    with passable_directory() as directory:
        yield directory / "postgres"


# --- starting and stopping ---


async def test_the_data_and_the_address_survive_a_restart(root: Path) -> None:
    with embedded(root) as server:
        first = server.url
        await execute(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    with embedded(root) as server:
        assert server.url == first
        assert await ask(server.url, "SELECT answer FROM kept") == 42


async def test_stopping_ends_the_server_and_removes_the_socket(root: Path) -> None:
    server = embedded(root)
    sockets = socket_of(server.start())
    postmaster = postmaster_of(root)
    server.stop()
    wait_until_gone(postmaster)
    assert not sockets.exists()
    server.stop()


async def test_a_stop_with_open_connections_is_a_clean_shutdown(root: Path) -> None:
    with embedded(root) as server:
        async with connected(server.url):
            server.stop()
    assert "database system is shut down" in server.log.read_text()


async def test_options_reach_the_server(root: Path) -> None:
    with embedded(root, work_mem="7MB") as server:
        assert await ask(server.url, "SHOW work_mem") == "7MB"
        assert await ask(server.url, "SHOW data_checksums") == "on"


def test_a_server_is_started_once(root: Path) -> None:
    with embedded(root) as server, pytest.raises(EmbeddedPostgresError, match="started before"):
        server.start()


def test_the_url_is_unknown_before_the_start(root: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="not running"):
        _ = embedded(root).url


# --- who may come in ---


async def test_the_only_way_in_is_a_private_socket(root: Path) -> None:
    with embedded(root, listen_addresses="*", unix_socket_permissions="0777") as server:
        assert await ask(server.url, "SHOW listen_addresses") == ""
        sockets = socket_of(server.url)
        assert mode_of(sockets) == 0o700
        assert mode_of(sockets / ".s.PGSQL.5432") == 0o700


async def test_the_password_is_random_private_and_needed(root: Path) -> None:
    with embedded(root) as server:
        url = make_url(server.url)
        assert len(str(url.password)) >= 40
        assert mode_of(root / "password") == 0o600
        assert mode_of(root / "postgres.log") == 0o600
        for wrong in ("wrong", ""):
            with pytest.raises(DBAPIError, match="password"):
                await ask(url.set(password=wrong).render_as_string(hide_password=False), "SELECT 1")
        hashed = await ask(server.url, f"SELECT rolpassword FROM pg_authid WHERE rolname = '{url.username}'")
        assert str(hashed).startswith("SCRAM-SHA-256$")


async def test_the_socket_path_stays_short_for_a_long_data_path(root: Path) -> None:
    deep = root.joinpath(*["a-long-name-of-a-directory" * 4] * 4)
    with embedded(deep) as server:
        assert len(str(socket_of(server.url))) < 40
        assert await ask(server.url, "SELECT 1") == 1


def test_a_socket_directory_that_is_not_private_is_refused(root: Path) -> None:
    with embedded(root) as server:
        sockets = socket_of(server.url)
    sockets.mkdir(mode=0o755)
    try:
        with pytest.raises(EmbeddedPostgresError, match=f"{sockets} is not a private directory"):
            embedded(root).start()
        assert mode_of(sockets) == 0o755
    finally:
        sockets.rmdir()


def test_postgres_does_not_see_the_secrets_of_the_broker(root: Path) -> None:
    with owner_of(root, {"BROKER_ADMIN_TOKEN": "canary", "PGOPTIONS": "-c fsync=nonsense"}) as owner:
        for pid in (owner.postmaster, owner.watchdog):
            told = Path(f"/proc/{pid}/environ")
            assert not told.exists() or b"canary" not in told.read_bytes()


# --- one owner ---


def test_a_second_owner_in_the_same_process_is_refused(root: Path) -> None:
    with (
        embedded(root),
        pytest.raises(EmbeddedPostgresError, match=rf"{root} is in use by process {os.getpid()}"),
    ):
        embedded(root).start()


async def test_a_second_owner_in_another_process_is_refused_and_the_first_goes_on(root: Path) -> None:
    with owner_of(root) as owner:
        with pytest.raises(EmbeddedPostgresError, match=rf"in use by process {owner.process.pid}"):
            embedded(root).start()
        assert await ask(owner.url, "SELECT 1") == 1


async def test_a_command_beside_a_running_owner_uses_its_server_and_leaves_it_running(root: Path) -> None:
    with owner_of(root) as owner:
        with postgres_on(root) as url:
            assert url == owner.url
        assert await ask(owner.url, "SELECT 1") == 1


async def test_a_command_without_a_running_owner_has_a_server_for_itself(root: Path) -> None:
    with postgres_on(root) as url:
        assert await ask(url, "SELECT 1") == 1
    assert not socket_of(url).exists()


# --- sudden ends ---


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_an_owner_that_is_killed_takes_postgres_with_it(root: Path, number: signal.Signals) -> None:
    with owner_of(root) as owner:
        await execute(owner.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        owner.process.send_signal(number)
        owner.process.wait()
        with embedded(root) as server:
            assert await ask(server.url, "SELECT answer FROM kept") == 42
    wait_until_gone(owner.watchdog)
    wait_until_gone(owner.postmaster)
    assert not socket_of(owner.url).exists()
    assert "was not properly shut down" not in server.log.read_text()


@on_linux
async def test_a_watchdog_that_is_killed_takes_postgres_with_it(root: Path) -> None:
    with owner_of(root) as owner:
        os.kill(owner.watchdog, signal.SIGKILL)
        wait_until_gone(owner.postmaster)
        owner.process.kill()
        owner.process.wait()
    with embedded(root) as server:
        assert await ask(server.url, "SELECT 1") == 1
    assert "was not properly shut down" not in server.log.read_text()


@on_linux
async def test_owner_and_watchdog_killed_together_leave_nothing(root: Path) -> None:
    with owner_of(root) as owner:
        owner.process.kill()
        os.kill(owner.watchdog, signal.SIGKILL)
        wait_until_gone(owner.postmaster)
    with embedded(root) as server:
        assert await ask(server.url, "SELECT 1") == 1


async def test_the_directory_is_not_free_before_the_watchdog_has_finished(root: Path) -> None:
    with owner_of(root) as owner:
        os.kill(owner.watchdog, signal.SIGSTOP)
        wait_until(lambda: is_stopped(owner.watchdog), "the watchdog was stopped")
        try:
            owner.process.kill()
            owner.process.wait()
            server = embedded(root)
            starting = asyncio.create_task(asyncio.to_thread(server.start))
            await asyncio.sleep(0.5)
            assert started_at(owner.postmaster) is not None
        finally:
            os.kill(owner.watchdog, signal.SIGCONT)
        await starting
        wait_until_gone(owner.postmaster)
        server.stop()


async def test_a_signal_to_the_watchdog_alone_does_not_stop_the_server_under_its_owner(root: Path) -> None:
    with owner_of(root) as owner:
        os.kill(owner.watchdog, signal.SIGTERM)
        os.kill(owner.watchdog, signal.SIGINT)
        assert await ask(owner.url, "SELECT 1") == 1


async def test_a_killed_postgres_recovers_at_the_next_start(root: Path) -> None:
    with embedded(root) as server:
        await execute(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        await execute(server.url, "SELECT pg_switch_wal()")
        os.kill(postmaster_of(root), signal.SIGKILL)
        server.stop()
    with embedded(root) as server:
        assert await ask(server.url, "SELECT answer FROM kept") == 42
    assert "was not properly shut down" in server.log.read_text()


async def test_a_stale_pid_of_another_process_does_not_prevent_the_start(root: Path) -> None:
    with embedded(root) as server:
        url = server.url
        stale = (root / "data" / "postmaster.pid").read_text().splitlines()
    account = account_for(root / "data")
    bystander = run_as(account, ["/bin/sleep", "600"])
    try:
        lines = [str(bystander.pid), *stale[1:]]
        (root / "data" / "postmaster.pid").write_text("\n".join(lines) + "\n")
        with embedded(root) as server:
            assert server.url == url
            assert await ask(url, "SELECT 1") == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_the_next_start_stops_a_server_without_a_watchdog(root: Path) -> None:
    with embedded(root):
        pass
    data = root / "data"
    command: list[str | Path] = [
        find_binaries(None) / "postgres",
        "-D",
        data,
        "-c",
        "listen_addresses=",
        "-k",
        data,
    ]
    orphan = run_as(account_for(data), command)
    try:
        wait_until((data / "postmaster.pid").exists, "the server ran")
        with embedded(root) as server:
            assert await ask(server.url, "SELECT 1") == 1
            assert orphan.wait(60) == 0
    finally:
        orphan.kill()
        orphan.wait()


async def test_a_kill_during_initdb_leaves_no_incomplete_data(root: Path) -> None:
    owner = start_owner(root)
    try:
        wait_until(lambda: any(root.glob("data.init-*/data/base")), "initdb had begun")
    finally:
        owner.kill()
        owner.communicate()
    assert not (root / "data").exists()
    with embedded(root) as server:
        assert await ask(server.url, "SELECT 1") == 1
    with embedded(root):
        assert not names_in(root, "data.init-*")


# --- clear refusals ---


async def test_a_failed_start_reports_the_reason_and_releases_the_directory(root: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "work_mem"'):
        embedded(root, work_mem="nonsense").start()
    with embedded(root) as server:
        assert await ask(server.url, "SELECT 1") == 1


def test_data_of_another_major_version_is_refused_by_name(root: Path) -> None:
    with embedded(root):
        pass
    (root / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(
        EmbeddedPostgresError, match=r"made by Postgres 9, but .* holds Postgres \d+\..*BROKER_PG_BIN"
    ):
        embedded(root).start()


def test_a_lost_password_is_named(root: Path) -> None:
    with embedded(root):
        pass
    (root / "password").unlink()
    with pytest.raises(EmbeddedPostgresError, match="password is gone"):
        embedded(root).start()


def test_a_bin_directory_without_postgres_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=f"BROKER_PG_BIN is {tmp_path}"):
        EmbeddedPostgres(root, binaries=tmp_path).start()
