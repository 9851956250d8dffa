"""Starts and stops Postgres on a directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from app.store.embedded import directory, lock, processes
from app.store.embedded.account import Account, account_for, environment
from app.store.embedded.binaries import Binaries, find_binaries, usable_binaries
from app.store.embedded.failure import EmbeddedPostgresError

WATCHDOG = Path(__file__).with_name("watchdog.py")
# Recovery after a crash may replay gigabytes of log; Postgres stops by itself if it fails.
START_SECONDS = 900.0
# Longer than the watchdog waits for the server.
STOP_SECONDS = 45.0
LOG_BYTES = 8 * 1024 * 1024


class EmbeddedPostgres:
    """A context manager for one Postgres on one directory, which stops with this process.

    `settings` are server options such as fsync; `binaries` is the operator's choice of a bin directory;
    `refuge` is the place of root's data if the account that Postgres runs as can't enter the root directory.
    """

    def __init__(
        self,
        root: Path,
        *,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
        refuge: Path = directory.SYSTEM_HOME,
    ) -> None:
        self._root = root.absolute()
        self._settings = dict(settings or {})
        self._binaries = binaries
        self._refuge = refuge
        self._lock: int | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._sockets: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL for SQLAlchemy's async engine, with the password."""
        if self._sockets is None:
            raise EmbeddedPostgresError("The embedded Postgres is not running.")
        return directory.url_of(self._root)

    @property
    def log(self) -> Path:
        return self._root / "postgres.log"

    @property
    def _data(self) -> Path:
        return directory.known_home(self._root) / "data"

    def start(self) -> str:
        """Start Postgres, and block until it accepts connections: 1 s the first time, 0.1 s later."""
        if self._lock is not None:
            raise EmbeddedPostgresError("The embedded Postgres was started before.")
        directory.make_root(self._root)
        self._lock = lock.acquire(self._root / "lock")
        try:
            self._launch()
            self._await_ready()
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Fast shutdown: roll back open transactions, write all data, and release the lock."""
        if self._watchdog is not None:
            _end(self._watchdog)
            self._watchdog = None
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _launch(self) -> None:
        account = account_for(self._data)
        home = directory.choose_home(self._root, account, self._refuge)
        binaries = usable_binaries(find_binaries(self._binaries), account, home)
        data, password = home / "data", directory.password_of(self._root, home / "data")
        quick = ["--no-sync"] if self._settings.get("fsync") == "off" else []
        directory.ensure_data(data, password, account, binaries, quick)
        # Postgres won't start if another process has the pid in this file by now. The lock is held and no
        # process is left in the directory, so the file is stale.
        processes.evict(data, STOP_SECONDS)
        (data / "postmaster.pid").unlink(missing_ok=True)
        self._sockets = directory.make_socket_directory(self._root, password, account)
        self._watchdog = self._watch(self._command(binaries, data, self._sockets), account)

    def _command(self, binaries: Binaries, data: Path, sockets: Path) -> list[str]:
        settings = {"timezone": "UTC", "log_timezone": "UTC", **self._settings}
        # Postgres listens on the socket alone, even if the settings say otherwise.
        settings["listen_addresses"] = ""
        settings["unix_socket_directories"] = str(sockets)
        settings["unix_socket_permissions"] = "0700"
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(binaries.program("postgres")), "-D", str(data.resolve()), *options]

    def _watch(self, command: list[str], account: Account) -> subprocess.Popen[bytes]:
        if self._lock is None:
            raise EmbeddedPostgresError("The data directory is not locked.")
        order = {
            "command": command,
            "account": [account.uid, account.gid] if account.dropped else None,
            "sockets": str(self._sockets),
        }
        with _open_log(self.log) as log:
            return subprocess.Popen(  # noqa: S603 - a program of this package, no shell
                [sys.executable, "-I", str(WATCHDOG), json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment(),
                cwd="/",
                # Ctrl-C signals the whole group of a terminal, but the broker needs its database to drain
                # first.
                start_new_session=True,
                pass_fds=[self._lock],
            )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not directory.is_ready(self._data):
            if self._watchdog is None or self._watchdog.poll() is not None:
                raise EmbeddedPostgresError(
                    f"Postgres did not start. {self.log} ends with:\n{_tail(self.log)}"
                )
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"Postgres was not ready after {START_SECONDS:.0f} s. See {self.log}."
                )
            time.sleep(0.01)


@contextmanager
def postgres_on(root: Path, *, binaries: Path | None = None) -> Iterator[str]:
    """The URL of the server that another process runs here, or of one that runs for the block."""
    if lock.find_owner(root / "lock") is not None and directory.is_ready(directory.known_home(root) / "data"):
        yield directory.url_of(root)
        return
    with EmbeddedPostgres(root, binaries=binaries) as server:
        yield server.url


def _open_log(path: Path) -> IO[bytes]:
    """Open the log, which is private because Postgres quotes statements in it."""
    log = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")
    if log.tell() > LOG_BYTES:
        log.truncate(0)
    return log


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-12:])


def _end(watchdog: subprocess.Popen[bytes]) -> None:
    """Close the watchdog's pipe, which stops the server; a kill would take the server down hard."""
    if watchdog.stdin is not None:
        watchdog.stdin.close()
    try:
        watchdog.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        watchdog.kill()
        watchdog.wait()
