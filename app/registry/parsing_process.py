"""The child process of `Parsers`: it answers one request after another until its input ends."""

from __future__ import annotations

import os
import pickle
import signal
import sys

from app import errors

__all__ = ["main"]

_LENGTH_BYTES = 4
_NICENESS = 5


def main() -> None:
    """Run until the parent ends; ignore its interrupts, and let it run first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while length := source.read(_LENGTH_BYTES):
        answer = _answer(source.read(int.from_bytes(length)))
        sink.write(len(answer).to_bytes(_LENGTH_BYTES))
        sink.write(answer)
        sink.flush()


def _answer(question: bytes) -> bytes:
    """The result of the function, or its error."""
    read, raw, args, named = pickle.loads(question)  # noqa: S301 - from our parent
    try:
        return pickle.dumps(read(raw, *args, **named))
    except errors.BrokerError as error:
        return pickle.dumps(error.with_traceback(None))
