"""The tag leases of a push. While it moves a tag, no other push of any project or process does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace

from app.errors import BrokerError, RegistryTimeout, Superseded, Unavailable
from app.lists.pushes import Push
from app.oci.reference import Reference
from app.operations.operation import Operation
from app.operations.tag_leases import LEASE, Grant, LeaseRequest
from app.registry.push.model import TagLease
from app.store import tag_leases
from app.store.database import Database
from app.store.notifications import TAG_LEASE, Notifications
from app.store.row_security.scopes import SYSTEM
from app.store.tag_leases import lease_id

logger = logging.getLogger(__name__)

# The end of a lease wakes a waiting push. The push also polls at this interval, in case that is lost.
POLL_SECONDS = 1.0
RENEW_SECONDS = LEASE.total_seconds() / 3

Prove = Callable[[], Awaitable[None]]


class PushTagLeases:
    """The leases of one attempt at a push. They are taken once everything is staged.

    A push holds no lease while it is queued, parked or staging, or while the registry refuses it.
    """

    def __init__(
        self, database: Database, notifications: Notifications, operation: Operation, planned: Push
    ) -> None:
        self._database = database
        self._notifications = notifications
        self._planned = planned
        self._tags = [tag for tag in planned.plan.references if tag.digest is None]
        self._request = LeaseRequest(
            operation.id,
            operation.attempt,
            operation.project_id,
            operation.sequence,
            str(planned.plan.index.digest),
            # A lower bound for the start of the attempt.
            operation.run_at,
        )

    async def find_left(self) -> Collection[Reference]:
        """The tags to leave to later pushes of other projects.

        Raises Superseded if the push would not move the list's own tag, or would move no tag at all. A push
        to a single tag needs no check before its lease.
        """
        if len(self._tags) == 1:
            return ()
        async with self._database.transaction(SYSTEM) as tx:
            newer = await tag_leases.find_newer(tx, self._tags, self._request)
        if self._planned.reference in newer or (newer and len(newer) == len(self._tags)):
            raise _superseded(self._planned.reference if self._planned.reference in newer else newer[0])
        return newer

    @asynccontextmanager
    async def of(self, tag: Reference, *, prove: Prove | None) -> AsyncIterator[TagLease]:
        """Hold the tag's lease for the length of the block, and wait for it first.

        Raises Superseded if another project's push, accepted later, has moved the list's own tag, or the only
        tag.
        """
        grant, asked_at = await self._wait(tag, prove)
        if grant is Grant.NEWER:
            if tag == self._planned.reference or len(self._tags) == 1:
                raise _superseded(tag)
            yield TagLease(is_left=True)
            return
        lease = TagLease(is_stale=grant is Grant.TAKEN_STALE)
        try:
            async with self._renewing(tag, asked_at):
                yield lease
        finally:
            await self._end(tag, has_moved=lease.has_moved)

    async def _wait(self, tag: Reference, prove: Prove | None) -> tuple[Grant, float]:
        """The grant that ends the wait, and the time of its request, which is before the lease begins."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        request = replace(self._request, has_written=prove is None)
        async with self._database.transaction(SYSTEM) as tx:
            if await tag_leases.take_free(tx, tag, request):
                return Grant.TAKEN, asked_at
        async with self._notifications.subscribe(TAG_LEASE, lease_id(tag).hex()) as ends:
            try:
                while True:
                    asked_at = loop.time()
                    grant = await self._ask(tag, request)
                    if grant is Grant.WAIT:
                        await ends.wait(POLL_SECONDS)
                    elif grant is Grant.PROVE and prove is not None:
                        await prove()
                        request = replace(request, has_written=True)
                    else:
                        return grant, asked_at
            except BaseException:
                await self._leave(tag)
                raise

    async def _ask(self, tag: Reference, request: LeaseRequest) -> Grant:
        async with self._database.transaction(SYSTEM) as tx:
            return await tag_leases.ask_for(tx, tag, request)

    @asynccontextmanager
    async def _renewing(self, tag: Reference, asked_at: float) -> AsyncIterator[None]:
        """Renew the lease while the block runs, and cancel the block if the lease ends."""
        try:
            async with asyncio.timeout_at(asked_at + LEASE.total_seconds()) as end:
                renewing = asyncio.create_task(self._renew(tag, end))
                try:
                    yield
                finally:
                    renewing.cancel()
        except TimeoutError:
            if not end.expired():
                raise
            raise RegistryTimeout(
                f"{tag.registry} did not take {tag} in time, and another push of the tag waits.",
                registry=tag.registry,
                reference=str(tag),
            ) from None

    async def _renew(self, tag: Reference, end: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            asked_at = loop.time()
            try:
                async with self._database.transaction(SYSTEM) as tx:
                    if not await tag_leases.renew(tx, tag, self._request):
                        return
            except BrokerError:
                continue
            end.reschedule(asked_at + LEASE.total_seconds())

    async def _end(self, tag: Reference, *, has_moved: bool) -> None:
        try:
            async with self._database.transaction(SYSTEM) as tx:
                await tag_leases.end(tx, tag, self._request, moved=has_moved)
        except Unavailable:
            if has_moved:
                # Another attempt will move the tag again, and record that move.
                raise
            logger.warning("The lease of a tag of push %s was not released and will expire", self._planned.id)

    async def _leave(self, tag: Reference) -> None:
        try:
            async with self._database.transaction(SYSTEM) as tx:
                await tag_leases.leave(tx, tag, self._request.operation_id)
                # The lease may already be granted.
                await tag_leases.end(tx, tag, self._request, moved=False)
        except Unavailable:
            logger.warning("The wait of push %s for a tag ends by itself", self._planned.id)


def _superseded(tag: Reference) -> Superseded:
    return Superseded(
        f"A push that was accepted later has already moved {tag}. Push again to overwrite it.",
        reference=str(tag),
    )
