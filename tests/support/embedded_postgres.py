"""A process that owns an embedded Postgres, to be killed in every way a process can be.

As a program, `python -m tests.support.embedded_postgres ROOT` prints the address and waits.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from app.store.embedded import EmbeddedPostgres
from app.store.embedded.account import Account
from app.store.embedded.processes import started_at
from tests.support.postgres import FAST

PROJECT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Owner:
    """The process, the address it printed, and the two processes that it is responsible for."""

    process: subprocess.Popen[str]
    url: str
    postmaster: int
    watchdog: int


def embedded(root: Path, **settings: str) -> EmbeddedPostgres:
    return EmbeddedPostgres(root, settings={**FAST, **settings})


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def owner_of(root: Path, environment: Mapping[str, str] | None = None) -> Iterator[Owner]:
    process = start_owner(root, environment)
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline() or '"the owner printed nothing"')
        postmaster = postmaster_of(root)
        owner = Owner(process, url, postmaster, parent_of(postmaster))
        yield owner
        process.kill()
        wait_until_gone(owner.watchdog)
        wait_until_gone(owner.postmaster)
    finally:
        process.kill()
        process.communicate()


def start_owner(root: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.embedded_postgres", str(root)],
        cwd=PROJECT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_as(account: Account, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
    """A process of the account that Postgres runs as."""
    return subprocess.Popen(
        command,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=account.uid if account.dropped else None,
        group=account.gid if account.dropped else None,
        extra_groups=[] if account.dropped else None,
    )


def socket_of(url: str) -> Path:
    return Path(str(make_url(url).query["host"]))


def names_in(directory: Path, pattern: str) -> list[str]:
    return [path.name for path in directory.glob(pattern)]


def postmaster_of(root: Path) -> int:
    home = (root / "home").resolve() if (root / "home").is_symlink() else root
    return int((home / "data" / "postmaster.pid").read_text().splitlines()[0])


def parent_of(pid: int) -> int:
    return int(importlib.import_module("psutil").Process(pid).ppid())


def program_of(pid: int) -> Path:
    return Path(importlib.import_module("psutil").Process(pid).exe())


def is_stopped(pid: int) -> bool:
    return str(importlib.import_module("psutil").Process(pid).status()) == "stopped"


def user_of(pid: int) -> int:
    return int(importlib.import_module("psutil").Process(pid).uids().effective)


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def wait_until_gone(pid: int) -> None:
    wait_until(lambda: started_at(pid) is None, f"process {pid} was gone")


def main(root: str) -> None:
    with EmbeddedPostgres(Path(root), settings=FAST) as server:
        sys.stdout.write(f"{json.dumps(server.url)}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
