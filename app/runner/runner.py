"""Claims operations from the queue, keeps their leases while they are carried out, and stops gracefully."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import uuid4

from app.errors import Unavailable
from app.operations.capacity import CapacityPool, FreeSlots
from app.operations.retries import RetryPolicy
from app.operations.states import Kind
from app.runner.capacity import Capacity
from app.runner.execution import Execution
from app.runner.lease import Lease, Stop
from app.services.operations.attempts import Handler, conclude
from app.store import queue
from app.store.database import Database
from app.store.notifications import CANCEL_REQUESTED, OPERATION_QUEUED, Notifications, Subscription
from app.store.row_security.scopes import SYSTEM, acting_for

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)
BEAT = timedelta(seconds=5)
POLL = timedelta(seconds=5)
GRACE = timedelta(seconds=20)
# The part of a beat after which a lease that could not be renewed is tried again.
RETRY_BEAT_AFTER = 0.2


class Runner:
    """Runs operations in one process; any number of processes share the queue.

    At most `concurrency` operations run at a time, at most `bulkhead_limit` of them for the same registries,
    and at most `project_share` of them for one project. `pools` limit the kinds of operations that they name.
    After a stop, operations have `grace` to finish; then the runner gives them back.
    """

    def __init__(
        self,
        database: Database,
        notifications: Notifications,
        handlers: Mapping[Kind, Handler],
        *,
        concurrency: int = 8,
        bulkhead_limit: int | None = None,
        pools: Sequence[CapacityPool] = (),
        project_share: float = 1.0,
        lease: timedelta = LEASE,
        beat: timedelta = BEAT,
        poll: timedelta = POLL,
        grace: timedelta = GRACE,
        policy: RetryPolicy | None = None,
        worker: str | None = None,
    ) -> None:
        self._database = database
        self._notifications = notifications
        self._handlers = handlers
        self._capacity = Capacity(
            concurrency,
            bulkhead_limit=bulkhead_limit or concurrency,
            pools=pools,
            project_share=project_share,
        )
        self._lease = lease
        self._beat = beat
        self._poll = poll
        self._grace = grace
        self._policy = policy or RetryPolicy()
        self._worker = worker or f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self._execution = Execution(database, handlers, self._policy)
        self._stopping = False
        self._wake_ups = Subscription()
        self._overdue_ended_at = float("-inf")

    def stop(self) -> None:
        """Claim nothing more; `run` returns when every held operation has ended or was given back."""
        self._stopping = True
        self._wake_ups.wake()

    async def run(self) -> None:
        """Run until `stop`; a cancellation gives back the held operations."""
        async with (
            self._notifications.subscribe(OPERATION_QUEUED) as self._wake_ups,
            self._notifications.subscribe(CANCEL_REQUESTED) as cancels,
            asyncio.TaskGroup() as group,
        ):
            beats = group.create_task(self._keep_leases(cancels))
            try:
                while not self._stopping:
                    await self._wake_ups.wait(await self._take(group))
                await self._drain()
            finally:
                beats.cancel()

    async def _take(self, group: asyncio.TaskGroup) -> float:
        """Claim and start operations; return the seconds to wait until more may be ready."""
        poll = self._poll.total_seconds()
        try:
            return await self._fill(group)
        except Unavailable as failure:
            logger.warning("Operations can't be claimed: %s", failure)
            return min(failure.retry_after or 1.0, poll)
        except Exception:
            # If the worker stopped claiming here, nothing would report it.
            logger.exception("Operations can't be claimed; the worker tries again")
            return poll

    async def _fill(self, group: asyncio.TaskGroup) -> float:
        if self._capacity.free == 0:
            return self._poll.total_seconds()
        until = asyncio.get_running_loop().time() + self._lease.total_seconds()
        asked = self._capacity.free_slots()
        leases = [Lease(each, until) for each in await self._claim(asked)]
        for lease in leases:
            self._capacity.take(lease)
            group.create_task(self._hold(lease))
        if self._capacity.can_claim_more_than(asked, leases):
            return 0.0
        return await self._next_due() if len(leases) < asked.slots else self._poll.total_seconds()

    async def _next_due(self) -> float:
        # Read only after the claimed operations have begun, so that they don't wait for it.
        poll = self._poll.total_seconds()
        async with self._database.transaction(SYSTEM) as tx:
            due = await queue.next_due(tx)
        return poll if due is None else min(poll, max(0.0, due.total_seconds()))

    async def _claim(self, free: FreeSlots) -> list[queue.Claimed]:
        await self._end_overdue()
        async with self._database.transaction(SYSTEM) as tx:
            return await queue.claim(
                tx,
                worker=self._worker,
                free=free,
                lease=self._lease,
                kinds=list(self._handlers),
                max_lost=self._policy.max_attempts,
            )

    async def _end_overdue(self) -> None:
        # Once in a beat is enough: these are less urgent than new operations.
        now = asyncio.get_running_loop().time()
        if now < self._overdue_ended_at + self._beat.total_seconds():
            return
        self._overdue_ended_at = now
        try:
            while await self._end_one_overdue():
                pass
        except Unavailable:
            raise
        except Exception:
            # An operation that can't be ended must not keep others from being claimed.
            logger.exception("Overdue operations can't be ended; the worker tries again")

    async def _end_one_overdue(self) -> bool:
        """End one operation in its own transaction, because its handler may lock rows that others need."""
        async with self._database.transaction(SYSTEM) as tx:
            ended = await queue.end_overdue(
                tx, kinds=list(self._handlers), max_lost=self._policy.max_attempts, limit=1
            )
            for operation in ended:
                async with acting_for(tx, operation.project_id):
                    await conclude(tx, self._handlers, operation)
        return bool(ended)

    async def _hold(self, lease: Lease) -> None:
        try:
            await self._execution.carry_out(lease)
        finally:
            # With free slots everywhere, no operation waits for this one; a claim under way checks again.
            if self._stopping or not self._capacity.has_free_slots_everywhere():
                self._wake_ups.wake()
            self._capacity.release(lease)

    async def _keep_leases(self, cancels: Subscription) -> None:
        pause = self._beat.total_seconds()
        while True:
            await cancels.wait(pause)
            pause = self._beat.total_seconds()
            if held := list(self._capacity.held):
                try:
                    if not await self._renew(held):
                        pause *= RETRY_BEAT_AFTER
                except (Unavailable, TimeoutError):
                    # If a lease can't be renewed, its timer stops the work.
                    logger.warning("The leases of %d operations could not be renewed", len(held))
                except Exception:
                    logger.exception("The leases of %d operations can't be renewed", len(held))

    async def _renew(self, held: Sequence[Lease]) -> bool:
        """Renew the leases; return False if the row of one is locked, so that its lease was not renewed."""
        until = asyncio.get_running_loop().time() + self._lease.total_seconds()
        async with asyncio.timeout(self._beat.total_seconds()), self._database.transaction(SYSTEM) as tx:
            beats = {
                (beat.id, beat.attempt): beat
                for beat in await queue.beat(tx, ((lease.id, lease.attempt) for lease in held), self._lease)
            }
        for lease in held:
            _apply(lease, beats.get((lease.id, lease.attempt)), until)
        return all(beat.renewed for beat in beats.values())

    async def _drain(self) -> None:
        """Let held operations finish for the grace period, then give the rest back."""
        try:
            async with asyncio.timeout(self._grace.total_seconds()):
                await self._until_free()
        except TimeoutError:
            held = list(self._capacity.held)
            logger.info("The grace period is over; %d operations are given back", len(held))
            for lease in held:
                lease.stop(Stop.SHUTDOWN)
            await self._until_free()

    async def _until_free(self) -> None:
        while self._capacity.held:
            await self._wake_ups.wait(self._poll.total_seconds())


def _apply(lease: Lease, beat: queue.Beat | None, until: float) -> None:
    if beat is None:
        lease.stop(Stop.LOST)
    elif beat.cancel_requested:
        lease.stop(Stop.CANCELLED)
    elif beat.renewed:
        lease.renew(until)
