"""The other end of `Parsers`: answers one question after the other, until there are no more."""

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
    """Ends with its parent, whose interrupts are not for it, and lets it go first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while length := source.read(_LENGTH_BYTES):
        answer = _answer(source.read(int.from_bytes(length)))
        sink.write(len(answer).to_bytes(_LENGTH_BYTES))
        sink.write(answer)
        sink.flush()


def _answer(question: bytes) -> bytes:
    """What the function gave, or the error for the caller that it raised."""
    read, raw, args, named = pickle.loads(question)  # noqa: S301 - from our parent
    try:
        return pickle.dumps(read(raw, *args, **named))
    except errors.BrokerError as error:
        return pickle.dumps(error.with_traceback(None))
