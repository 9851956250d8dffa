"""Carries out one operation and records its outcome."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import assert_never

from app.errors import BrokerError, DeadlineExceeded, OperationCancelled, Unavailable
from app.logs import in_trace, redacting
from app.operations.operation import Operation
from app.operations.request_codec import UnreadableRequest
from app.operations.retries import GiveUp, Park, RetryAt, RetryPolicy, decide
from app.operations.states import Kind
from app.runner.lease import Lease, Stop
from app.services.operations.attempts import Attempt, Handler, conclude
from app.store import queue
from app.store.database import Database, Transaction
from app.store.operation_changes import LostLease

logger = logging.getLogger(__name__)

RECORD_RETRY_SECONDS = 0.5
NO_DELAY = timedelta(0)
# How long an operation that needs another version waits before this worker may claim it again.
OTHER_VERSION_SECONDS = 5.0

Write = Callable[[Transaction], Awaitable[Operation]]


class Execution:
    """Carries out the operations that a runner holds."""

    def __init__(self, database: Database, handlers: Mapping[Kind, Handler], policy: RetryPolicy) -> None:
        self._database = database
        self._handlers = handlers
        self._policy = policy

    async def carry_out(self, lease: Lease) -> None:
        """End the operation or give it back; a cancellation of this task gives it back, too."""
        with in_trace(lease.claimed.operation.trace), redacting():
            await self._carry_out(lease)

    async def _carry_out(self, lease: Lease) -> None:
        attempt = Attempt(self._database, lease.claimed.operation, lease.claimed.secret)
        try:
            failure = await self._work(lease, attempt)
        except asyncio.CancelledError:
            lease.stop(Stop.SHUTDOWN)
            await self._record(lease, attempt, _stopped(lease, Stop.SHUTDOWN))
            raise
        logger.info(
            "Attempt %d of operation %s (%s) %s",
            *(lease.attempt, lease.id, attempt.operation.kind.value, _outcome(lease, failure)),
        )
        if lease.stopped is not None:
            await self._record(lease, attempt, _stopped(lease, lease.stopped))
        elif failure is not None:
            await self._record(lease, attempt, self._failed(lease, failure))

    async def _work(self, lease: Lease, attempt: Attempt) -> Exception | None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_report(attempt, lease))
                work = group.create_task(self._perform(attempt))
                lease.guard(work)
                await asyncio.wait([work])
                attempt.close()
        finally:
            lease.release()
        if work.cancelled():
            return Unavailable("The work was interrupted.")
        return work.result()

    async def _perform(self, attempt: Attempt) -> Exception | None:
        # A failure is returned as a value: raised, it would cancel the task that reports progress.
        try:
            await self._handlers[attempt.operation.kind].perform(attempt)
        except Exception as failure:  # noqa: BLE001
            return failure
        if not attempt.succeeded:
            return RuntimeError("The handler returned without recording its success.")
        return None

    def _failed(self, lease: Lease, failure: Exception) -> Write:
        cause = self._cause(lease, failure)
        if isinstance(cause, OperationCancelled):
            # The operation noticed the cancellation before the notification arrived.
            return _stopped(lease, Stop.CANCELLED)
        counted = lease.claimed.counted
        now = datetime.now(UTC)
        decision = decide(
            cause,
            attempt=counted,
            excused_before=lease.attempt - counted,
            now=now,
            deadline=now + lease.time_left,
            policy=self._handlers[lease.claimed.operation.kind].policy or self._policy,
            random=random.random,
        )
        match decision:
            case RetryAt(delay, excused):
                return lambda tx: queue.give_back(
                    tx, lease.id, lease.attempt, delay, excused=excused, problem=cause.document()
                )
            case Park(delay):
                return lambda tx: queue.park(tx, lease.id, lease.attempt, delay, problem=cause.document())
            case GiveUp():
                return lambda tx: queue.fail(tx, lease.id, lease.attempt, cause.document())
            case _:
                assert_never(decision)

    def _cause(self, lease: Lease, failure: Exception) -> BrokerError:
        cause = _unwrapped(failure)
        if isinstance(cause, BrokerError):
            return cause
        if isinstance(cause, UnreadableRequest):
            logger.warning("Operation %s is left to a worker of another version: %s", lease.id, cause)
            return Unavailable(
                "The operation needs a worker of another version of the broker. Finish the upgrade.",
                retry_after=OTHER_VERSION_SECONDS,
            )
        if not isinstance(cause, LostLease):
            logger.error("Operation %s failed unexpectedly", lease.id, exc_info=failure)
        return BrokerError("Something failed inside the broker. Its log has the details.")

    async def _record(self, lease: Lease, attempt: Attempt, write: Write) -> None:
        # The outcome is known, so it is worth waiting for the database for as long as the lease lasts.
        while not await self._recorded(lease, attempt, write):
            if lease.lapsed:
                return
            await asyncio.sleep(RECORD_RETRY_SECONDS)

    async def _recorded(self, lease: Lease, attempt: Attempt, write: Write) -> bool:
        """Try to record the outcome; return whether no further try is useful."""
        try:
            async with self._database.transaction(attempt.operation.project_id) as tx:
                await attempt.flush(tx)
                operation = await write(tx)
                if operation.state.ended:
                    await conclude(tx, self._handlers, operation)
        except LostLease:
            logger.info("Attempt %d of operation %s ended without its lease", lease.attempt, lease.id)
        except Unavailable:
            logger.warning("The outcome of operation %s could not be recorded", lease.id)
            return False
        except Exception:
            # Without an outcome the lease runs out; then the operation is repeated, or ends as exhausted.
            logger.exception("The outcome of operation %s can't be recorded", lease.id)
        return True


async def _report(attempt: Attempt, lease: Lease) -> None:
    try:
        await attempt.report()
    except LostLease:
        lease.stop(Stop.LOST)
    except Exception:
        logger.exception("The progress of operation %s can't be recorded", lease.id)


def _outcome(lease: Lease, failure: Exception | None) -> str:
    """The outcome for the log; the stored problem has the registry's answer."""
    if lease.stopped is not None:
        return f"was stopped: {lease.stopped.name.lower()}"
    if failure is None:
        return "succeeded"
    cause = _unwrapped(failure)
    return f"failed: {cause.code if isinstance(cause, BrokerError) else type(cause).__name__}"


def _stopped(lease: Lease, reason: Stop) -> Write:
    match reason:
        case Stop.CANCELLED:
            return lambda tx: queue.cancelled(tx, lease.id, lease.attempt)
        case Stop.LATE:
            problem = DeadlineExceeded("The operation's deadline passed while it was running.").document()
            return lambda tx: queue.fail(tx, lease.id, lease.attempt, problem)
        case Stop.LOST | Stop.SHUTDOWN:
            excused = reason is Stop.SHUTDOWN
            return lambda tx: queue.give_back(tx, lease.id, lease.attempt, NO_DELAY, excused=excused)
        case _:
            assert_never(reason)


def _unwrapped(failure: Exception) -> Exception:
    """The failures of a task group as one: a final failure before a transient one."""
    if not isinstance(failure, ExceptionGroup):
        return failure
    causes = [_unwrapped(cause) for cause in failure.exceptions]
    return min(causes, key=_is_transient)


def _is_transient(failure: Exception) -> bool:
    return isinstance(failure, BrokerError) and failure.retryable
