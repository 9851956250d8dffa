"""A lock of the kernel: one owner for each data directory."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path

from app.store.embedded.failure import EmbeddedPostgresError
from app.store.embedded.processes import is_same, started_at

# The watchdog of a killed owner holds the lock until its Postgres has stopped.
PATIENCE_SECONDS = 45.0


def acquire(path: Path) -> int:
    """The descriptor that holds the lock until all its copies are closed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(descriptor, path)
        os.ftruncate(descriptor, 0)
        owner = {"pid": os.getpid(), "started": started_at(os.getpid())}
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def find_owner(path: Path) -> int | None:
    """The living process that has the lock, or None."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _try(descriptor) else _living_owner(descriptor)
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _try(descriptor):
        owner = _living_owner(descriptor)
        if owner is not None or time.monotonic() > deadline:
            who = f"process {owner}" if owner is not None else "another process"
            raise EmbeddedPostgresError(
                f"{path.parent} is in use by {who}. A data directory has one broker: stop the other one, "
                "choose another data directory, or set DATABASE_URL for several brokers."
            )
        time.sleep(0.05)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _living_owner(descriptor: int) -> int | None:
    try:
        owner = json.loads(os.pread(descriptor, 1024, 0))
        pid, started = int(owner["pid"]), float(owner["started"])
    except (ValueError, KeyError, TypeError):
        return None
    return pid if is_same(pid, started) else None
