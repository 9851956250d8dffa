"""Attempts at operations, and the handlers that make them."""

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

# Most operations that callers wait for end sooner, even with twenty concurrent legs of one list.
PROGRESS_SECONDS = 0.5


class Attempt:
    """One attempt at an operation; it ends with `succeed`, or with the exception of the handler."""

    def __init__(self, database: Database, operation: Operation, secret: bytes | None = None) -> None:
        self.operation = operation
        self.secret = secret
        self._database = database
        self.succeeded = False
        self._latest: Progress | None = None
        self._news = asyncio.Event()
        self._closed = asyncio.Event()

    def progress(self, progress: Progress) -> None:
        """Keep the progress and write it soon; progress that is superseded before that is never written."""
        self._latest = progress
        self._news.set()

    async def hold(self, tx: Transaction) -> None:
        """Lock the operation's row, or raise LostLease.

        Call this first in a transaction that locks other rows before it succeeds: every transaction that
        writes an operation and other rows locks the operation first, so that no two deadlock.
        """
        await queue.hold(tx, self.operation.id, self.operation.attempt)

    async def hold_to_go_on(self, tx: Transaction) -> None:
        """Hold the operation before a step that can't be undone, or raise OperationCancelled."""
        await self.hold(tx)
        await queue.refuse_cancelled(tx, self.operation.id)

    async def succeed(self, tx: Transaction, result: dict[str, Any], *, list_id: UUID | None = None) -> None:
        """Record the outcome in the transaction of its effects, or raise LostLease.

        `list_id` is the list that the operation created or changed.
        """
        self.succeeded = True
        operation = self.operation
        await queue.succeed(
            tx, operation.id, operation.attempt, result, list_id=list_id, progress=self._latest
        )

    def ending(self) -> Ending:
        """This attempt's part of `succeed_all`."""
        self.succeeded = True
        progress = self._latest.document() if self._latest is not None else None
        return Ending(self.operation.id, self.operation.attempt, progress)

    async def flush(self, tx: Transaction) -> Progress | None:
        """Write the progress that is not known to be written yet, and return it.

        Progress counts as written once it is committed: a write by `report` while the operation ends would be
        fenced off, so the end writes the progress as well.
        """
        latest, operation = self._latest, self.operation
        if latest is None or await queue.record_progress(tx, operation.id, operation.attempt, latest):
            return latest
        return None

    def close(self) -> None:
        """Let `report` finish its current write, and end."""
        self._closed.set()
        self._news.set()

    async def report(self) -> None:
        """Write progress as it comes until closed; raise LostLease when the operation is lost."""
        while not self._closed.is_set():
            await self._news.wait()
            # This bounds the rate of writes; an operation that ends sooner needs none, and waits for none.
            with suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_SECONDS):
                    await self._closed.wait()
                    return
            self._news.clear()
            await self._write()

    async def _write(self) -> None:
        # A success has recorded the progress already.
        if self._latest is None or self.succeeded:
            return
        try:
            async with self._database.transaction(self.operation.project_id) as tx:
                written = await self.flush(tx)
            if self._latest is written:
                self._latest = None
        except Unavailable:
            # Missing progress must not fail an attempt, and the next write supersedes this one.
            logger.warning("The progress of operation %s could not be written", self.operation.id)
        except LostLease:
            if not self.succeeded:
                raise


async def hold_all(tx: Transaction, attempts: Sequence[Attempt]) -> set[UUID]:
    """`Attempt.hold` for several in one transaction; returns the ids of the held operations."""
    return await queue.hold_all(
        tx, ((attempt.operation.id, attempt.operation.attempt) for attempt in attempts)
    )


async def succeed_all(
    tx: Transaction, attempts: Sequence[Attempt], result: dict[str, Any], *, list_id: UUID
) -> None:
    """`Attempt.succeed` for several with the same outcome."""
    await operation_changes.succeed_all(
        tx, [attempt.ending() for attempt in attempts], result, list_id=list_id
    )


Perform = Callable[[Attempt], Awaitable[None]]
Ended = Callable[[Transaction, Operation, State], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Handler:
    """How operations of one kind are carried out.

    `perform` may be called again after any failure, and calls `Attempt.succeed` before it returns. `ended`
    is called in the transaction that records a failure or a cancellation. `policy` decides about retries
    instead of the runner's policy.
    """

    perform: Perform
    ended: Ended | None = None
    policy: RetryPolicy | None = None


async def conclude(tx: Transaction, handlers: Mapping[Kind, Handler], operation: Operation) -> None:
    """Let the handler follow the end of an operation that did not succeed.

    The end is recorded even if the handler fails here. Only if the database is unavailable, the end is
    recorded again later, with everything that follows from it.
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
        logger.exception("The handler failed after the end of operation %s", operation.id)
