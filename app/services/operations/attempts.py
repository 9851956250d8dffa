"""What carries out an operation: its handler, and the attempt that the handler is given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.errors import Unavailable
from app.operations.operation import Operation
from app.operations.progress import Progress
from app.operations.retries import RetryPolicy
from app.operations.states import Kind, State
from app.store import operation_changes, queue
from app.store.database import Database, Transaction, savepoint
from app.store.operation_changes import Ending, LostLease

logger = logging.getLogger(__name__)

# Most of what callers wait for is over by then, twenty legs of one list at once included.
PROGRESS_SECONDS = 0.5


class Attempt:
    """One try at an operation, which ends with `succeed`, or with what the handler raises."""

    def __init__(self, database: Database, operation: Operation, secret: bytes | None = None) -> None:
        self.operation = operation
        self.secret = secret
        self._database = database
        self.succeeded = False
        self._latest: Progress | None = None
        self._news = asyncio.Event()
        self._closed = asyncio.Event()

    def progress(self, progress: Progress) -> None:
        """Kept at once, written soon; what is overtaken before that is never written."""
        self._latest = progress
        self._news.set()

    async def hold(self, tx: Transaction) -> None:
        """Called first in a transaction that locks other rows before it succeeds.

        Whoever writes an operation and something else takes the operation's row first, so that no two wait
        for each other.
        """
        await queue.hold(tx, self.operation.id, self.operation.attempt)

    async def succeed(self, tx: Transaction, result: dict[str, Any], *, list_id: UUID | None = None) -> None:
        """The outcome, in the transaction that holds its effects; `LostLease` if another attempt owns it now.

        `list_id` is the list that the operation made.
        """
        self.succeeded = True
        operation = self.operation
        await queue.succeed(
            tx, operation.id, operation.attempt, result, list_id=list_id, progress=self._latest
        )

    def ending(self) -> Ending:
        """What `succeed_all` writes of it."""
        self.succeeded = True
        progress = self._latest.document() if self._latest is not None else None
        return Ending(self.operation.id, self.operation.attempt, progress)

    async def flush(self, tx: Transaction) -> Progress | None:
        """Writes the progress that is not known to be written yet.

        It counts as written once it is committed: one that `report` is writing while the operation ends would
        be fenced off, and so goes with the end as well.
        """
        latest, operation = self._latest, self.operation
        if latest is None or await queue.record_progress(tx, operation.id, operation.attempt, latest):
            return latest
        return None

    def close(self) -> None:
        """Lets `report` finish what it is writing, and end."""
        self._closed.set()
        self._news.set()

    async def report(self) -> None:
        """Writes progress as it comes, until closed; raises `LostLease` when it is ours no more."""
        while not self._closed.is_set():
            await self._news.wait()
            # So many writes a second at most; what ends sooner needs none, and the end waits for none.
            with suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_SECONDS):
                    await self._closed.wait()
                    return
            self._news.clear()
            await self._write()

    async def _write(self) -> None:
        # What has succeeded has told its progress with its end.
        if self._latest is None or self.succeeded:
            return
        try:
            async with self._database.transaction() as tx:
                written = await self.flush(tx)
            if self._latest is written:
                self._latest = None
        except Unavailable:
            # Progress is worth no attempt: the next write tells more.
            logger.warning("The progress of operation %s could not be written", self.operation.id)
        except LostLease:
            if not self.succeeded:
                raise


async def hold_all(tx: Transaction, attempts: Sequence[Attempt]) -> set[UUID]:
    """`Attempt.hold` for many that end in one transaction; the ids of the operations that are still ours."""
    return await queue.hold_all(
        tx, ((attempt.operation.id, attempt.operation.attempt) for attempt in attempts)
    )


async def succeed_all(
    tx: Transaction, attempts: Sequence[Attempt], result: dict[str, Any], *, list_id: UUID
) -> None:
    """`Attempt.succeed` for many that have the same outcome."""
    await operation_changes.succeed_all(
        tx, [attempt.ending() for attempt in attempts], result, list_id=list_id
    )


Perform = Callable[[Attempt], Awaitable[None]]
Ended = Callable[[Transaction, Operation, State], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Handler:
    """How operations of one kind are carried out.

    `perform` may be called again after any failure, and calls `Attempt.succeed` before it returns. `ended` is
    called in the transaction that records a failure or a cancellation. `policy` says how patiently failures
    that may pass are tried again; without one the runner's own does.
    """

    perform: Perform
    ended: Ended | None = None
    policy: RetryPolicy | None = None


async def conclude(tx: Transaction, handlers: Mapping[Kind, Handler], operation: Operation) -> None:
    """Tells the handler of an operation that did not succeed.

    A handler that fails here keeps nothing from being recorded: an operation ends whatever its handler does.
    Only with a database that is away or too busy the end has to be recorded again, with all that follows.
    """
    handler = handlers.get(operation.kind)
    if handler is None or handler.ended is None:
        return
    try:
        async with savepoint(tx):
            await handler.ended(tx, operation, operation.state)
    except Unavailable:
        raise
    except Exception:
        logger.exception("What follows the end of operation %s failed", operation.id)
