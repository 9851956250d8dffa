"""Takes operations from the queue, keeps their leases while they are carried out, and stops gracefully."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from uuid import uuid4

from app.errors import Unavailable
from app.operations.retries import RetryPolicy
from app.operations.states import Kind
from app.runner.execution import Execution
from app.runner.lease import Lease, Stop
from app.services.operations.attempts import Handler, conclude
from app.store import queue
from app.store.database import Database
from app.store.notifications import CANCEL_REQUESTED, OPERATION_QUEUED, Notifications, Subscription

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)
BEAT = timedelta(seconds=5)
POLL = timedelta(seconds=5)
GRACE = timedelta(seconds=20)
# Of a beat: after it a lease is renewed that could not be.
AGAIN = 0.2


class Runner:
    """One per process; as many processes as wanted share the queue.

    `concurrency` operations run at once, and `share` of those that ask the same registries. A stop lets them
    finish for `grace`, and then gives them back.
    """

    def __init__(
        self,
        database: Database,
        notifications: Notifications,
        handlers: Mapping[Kind, Handler],
        *,
        concurrency: int = 8,
        share: int | None = None,
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
        self._concurrency = concurrency
        self._share = share or concurrency
        # Nobody waits for a delivery as for what they asked for, and receivers may take their time.
        self._most_deliveries = max(1, concurrency // 2)
        self._lease = lease
        self._beat = beat
        self._poll = poll
        self._grace = grace
        self._policy = policy or RetryPolicy()
        self._worker = worker or f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self._execution = Execution(database, handlers, self._policy)
        # By identity: what was given back may be claimed again before its old lease is let go.
        self._held: set[Lease] = set()
        self._stopping = False
        self._calls = Subscription()
        self._buried_at = float("-inf")

    def stop(self) -> None:
        """Takes no more; `run` returns when all that is held has ended or been given back."""
        self._stopping = True
        self._calls.wake()

    async def run(self) -> None:
        """Until `stop`; cancelled, it gives back what it holds."""
        async with (
            self._notifications.subscribe(OPERATION_QUEUED) as self._calls,
            self._notifications.subscribe(CANCEL_REQUESTED) as cancels,
            asyncio.TaskGroup() as group,
        ):
            beats = group.create_task(self._keep_leases(cancels))
            try:
                while not self._stopping:
                    await self._calls.wait(await self._take(group))
                await self._drain()
            finally:
                beats.cancel()

    async def _take(self, group: asyncio.TaskGroup) -> float:
        """Starts what may run; the answer is how many seconds to wait until there may be more."""
        poll = self._poll.total_seconds()
        try:
            return await self._fill(group)
        except Unavailable as failure:
            logger.warning("Operations can't be claimed: %s", failure)
            return min(failure.retry_after or 1.0, poll)
        except Exception:
            # Whatever it was: of a worker that takes nothing any more nobody would hear.
            logger.exception("Operations can't be claimed; it is tried again")
            return poll

    async def _fill(self, group: asyncio.TaskGroup) -> float:
        free = self._concurrency - len(self._held)
        if free == 0:
            return self._poll.total_seconds()
        until = asyncio.get_running_loop().time() + self._lease.total_seconds()
        before = self._lanes()
        deliveries = self._most_deliveries - self._deliveries()
        claimed = await self._claim(free, before, deliveries)
        for each in claimed:
            lease = Lease(each, until)
            self._held.add(lease)
            group.create_task(self._hold(lease))
        # What became free during the claim was not asked for.
        more = len(claimed) == free and len(self._held) < self._concurrency
        brought = sum(each.operation.kind is Kind.DELIVER for each in claimed)
        more |= brought >= deliveries and self._deliveries() < self._most_deliveries
        taken = before + Counter(each.operation.registries for each in claimed)
        brings = self._delivery_lanes()
        frees = {lane: min(free, deliveries) if lane in brings else free for lane in taken}
        full = (lane for lane in taken if taken[lane] >= queue.room(self._share, frees[lane], before[lane]))
        if more or any(self._has_room(lane) for lane in full if lane):
            return 0.0
        return await self._next_due() if len(claimed) < free else self._poll.total_seconds()

    async def _next_due(self) -> float:
        # Asked when what was claimed has begun: nobody waits for it.
        poll = self._poll.total_seconds()
        async with self._database.reading() as tx:
            due = await queue.next_due(tx)
        return poll if due is None else min(poll, max(0.0, due.total_seconds()))

    async def _claim(self, free: int, lanes: Counter[queue.Lane], deliveries: int) -> list[queue.Claimed]:
        await self._bury()
        async with self._database.transaction() as tx:
            return await queue.claim(
                tx,
                worker=self._worker,
                limit=free,
                lease=self._lease,
                kinds=list(self._handlers),
                max_lost=self._policy.max_attempts,
                share=self._share,
                deliveries=deliveries,
                held=lanes,
            )

    async def _bury(self) -> None:
        # Not at each claim: nobody waits for these as for what is new.
        now = asyncio.get_running_loop().time()
        if now < self._buried_at + self._beat.total_seconds():
            return
        self._buried_at = now
        try:
            while await self._bury_one():
                pass
        except Unavailable:
            raise
        except Exception:
            # One that can't be ended keeps nobody from being claimed.
            logger.exception("What is beyond help can't be ended; it is tried again")

    async def _bury_one(self) -> bool:
        """One in each transaction: what follows from its end may lock what others wait for."""
        async with self._database.transaction() as tx:
            buried = await queue.bury(
                tx, kinds=list(self._handlers), max_lost=self._policy.max_attempts, limit=1
            )
            for operation in buried:
                await conclude(tx, self._handlers, operation)
        return bool(buried)

    async def _hold(self, lease: Lease) -> None:
        try:
            await self._execution.carry_out(lease)
        finally:
            # While there is room nothing waits for more of it; a claim that is under way looks by itself.
            if self._stopping or not self._has_room_for_all():
                self._calls.wake()
            self._held.remove(lease)

    def _has_room_for_all(self) -> bool:
        lanes = {(), *self._lanes()}
        return self._deliveries() < self._most_deliveries and all(self._has_room(lane) for lane in lanes)

    def _deliveries(self) -> int:
        return sum(lease.claimed.operation.kind is Kind.DELIVER for lease in self._held)

    def _delivery_lanes(self) -> set[queue.Lane]:
        return {lease.lane for lease in self._held if lease.claimed.operation.kind is Kind.DELIVER}

    def _lanes(self) -> Counter[queue.Lane]:
        return Counter(lease.lane for lease in self._held if lease.lane)

    def _has_room(self, lane: queue.Lane) -> bool:
        free, held = self._concurrency - len(self._held), self._lanes()[lane]
        if lane in self._delivery_lanes():
            free = min(free, self._most_deliveries - self._deliveries())
        return free > 0 and (not lane or held < queue.room(self._share, free, held))

    async def _keep_leases(self, cancels: Subscription) -> None:
        pause = self._beat.total_seconds()
        while True:
            await cancels.wait(pause)
            pause = self._beat.total_seconds()
            if self._held:
                try:
                    if not await self._renew():
                        pause *= AGAIN
                except (Unavailable, TimeoutError):
                    # A lease that can't be renewed ends the work by itself.
                    logger.warning("The leases of %d operations could not be renewed", len(self._held))
                except Exception:
                    logger.exception("The leases of %d operations can't be renewed", len(self._held))

    async def _renew(self) -> bool:
        """False if another transaction has the row of one of them: that lease still runs out as it would."""
        held = list(self._held)
        until = asyncio.get_running_loop().time() + self._lease.total_seconds()
        async with asyncio.timeout(self._beat.total_seconds()), self._database.transaction() as tx:
            beats = {
                (beat.id, beat.attempt): beat
                for beat in await queue.beat(tx, ((lease.id, lease.attempt) for lease in held), self._lease)
            }
        for lease in held:
            _apply(lease, beats.get((lease.id, lease.attempt)), until)
        return all(beat.renewed for beat in beats.values())

    async def _drain(self) -> None:
        """Lets what is held finish for the grace period, then gives it back."""
        try:
            async with asyncio.timeout(self._grace.total_seconds()):
                await self._until_free()
        except TimeoutError:
            logger.info("The grace period is over; giving back %d operations", len(self._held))
            for lease in self._held:
                lease.stop(Stop.SHUTDOWN)
            await self._until_free()

    async def _until_free(self) -> None:
        while self._held:
            await self._calls.wait(self._poll.total_seconds())


def _apply(lease: Lease, beat: queue.Beat | None, until: float) -> None:
    if beat is None:
        lease.stop(Stop.LOST)
    elif beat.cancel_requested:
        lease.stop(Stop.CANCELLED)
    elif beat.renewed:
        lease.renew(until)
