"""Runs Postgres in the foreground, and stops it when the launching process has gone.

A separate program on the standard library alone; its one argument is the order as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
# Fast shutdown, then immediate: after an immediate one Postgres has to recover, but loses nothing.
STOPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


def main(order: str) -> int:
    parts = json.loads(order)
    server = start(parts["command"], parts["account"])
    # A supervisor may signal the whole group while the broker still drains: only the pipe counts here.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=stop_when_alone, args=(server,), daemon=True).start()
    status = server.wait()
    # The launching process may have gone, so the watchdog removes the sockets.
    shutil.rmtree(parts["sockets"], ignore_errors=True)
    return status


def start(command: list[str], account: tuple[int, int] | None) -> subprocess.Popen[bytes]:
    uid, gid = account or (None, None)
    return subprocess.Popen(  # noqa: S603 - an absolute path, no shell
        command,
        stdin=subprocess.DEVNULL,
        cwd="/",
        user=uid,
        group=gid,
        extra_groups=None if gid is None else [gid],
        preexec_fn=die_with_parent(),  # noqa: PLW1509 - no thread has been started yet
    )


def die_with_parent() -> Callable[[], None]:
    """Let Linux stop the server if this watchdog is killed.

    It runs in the child after the change of the account, which would clear the setting (prctl(2)).
    """
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    watchdog = os.getpid()

    def prepare() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != watchdog:
                os._exit(1)

    return prepare


def stop_when_alone(server: subprocess.Popen[bytes]) -> None:
    """Wait for the end of standard input, which comes when the launching process stops or dies."""
    sys.stdin.buffer.read()
    for number, patience in STOPS:
        server.send_signal(number)
        try:
            server.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
