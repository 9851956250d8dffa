"""Operations as callers look them up, cancel them, wait for them and follow their events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from app.errors import OperationEnded, OperationNotFound, Unavailable
from app.operations.operation import Operation, OperationEvent, OperationFilter
from app.operations.states import Kind
from app.projects.paging import Position
from app.services.operations.attempts import Handler, conclude
from app.store import operation_changes
from app.store import operations as store
from app.store.database import Database
from app.store.notifications import OPERATION_CHANGED, OPERATION_ENDED, Notifications
from app.store.row_security.scopes import SYSTEM

POLL_SECONDS = 5.0
EVENTS_AT_ONCE = 100
LOOKS_AGAIN_AFTER = (0.2, 0.0)


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some events of an operation; a full batch may have more behind it."""

    events: Sequence[OperationEvent]
    has_ended: bool

    @property
    def is_full(self) -> bool:
        return len(self.events) == EVENTS_AT_ONCE

    @property
    def is_last(self) -> bool:
        return self.has_ended and not self.is_full


class Operations:
    """Looks up, cancels and follows operations.

    `handlers` follow the end of operations that are cancelled before a worker claims them.
    """

    def __init__(
        self,
        database: Database,
        notifications: Notifications,
        handlers: Mapping[Kind, Handler] | None = None,
        *,
        poll: float = POLL_SECONDS,
    ) -> None:
        self._database = database
        self._notifications = notifications
        self._handlers = handlers or {}
        self._poll = poll

    async def get(self, project_id: UUID, operation_id: UUID) -> Operation:
        async with self._database.transaction(project_id) as tx:
            return await store.get(tx, project_id, operation_id)

    async def page(
        self,
        project_id: UUID,
        wanted: OperationFilter,
        *,
        before: Position | None = None,
        limit: int,
    ) -> list[Operation]:
        async with self._database.transaction(project_id) as tx:
            return await store.page(tx, project_id, wanted, before=before, limit=limit)

    async def cancel(self, project_id: UUID, operation_id: UUID) -> Operation:
        async with self._database.transaction(project_id) as tx:
            operation = await operation_changes.request_cancel(tx, project_id, operation_id)
            if operation.state.ended:
                await conclude(tx, self._handlers, operation)
        return operation

    async def cancel_of_token(self, token_id: UUID) -> None:
        """Cancel every unfinished operation that a revoked token has requested.

        A call accepted just before the revocation may still commit afterwards, so this looks a second time.
        """
        for pause in LOOKS_AGAIN_AFTER:
            async with self._database.transaction(SYSTEM) as tx:
                found = await store.unfinished_of_token(tx, token_id)
            for project_id, operation_id in found:
                with suppress(OperationEnded, OperationNotFound):
                    await self.cancel(project_id, operation_id)
            await asyncio.sleep(pause)

    async def wait(self, accepted: Operation, seconds: float) -> Operation:
        """The operation once it has ended, or as it is after `seconds`.

        No database connection is held meanwhile. The operation is read again only after a notification. When
        the process stops, the waiting ends.
        """
        operation, give_up_at = accepted, monotonic() + seconds
        async with self._notifications.subscribe(OPERATION_ENDED, str(accepted.id)) as end:
            if not self._notifications.listening:
                operation = await self._read_now(accepted)
            while not operation.state.ended and (left := self._seconds_left(give_up_at)) > 0:
                await end.wait(min(left, self._poll))
                operation = await self._read_now(operation)
        return operation

    def _seconds_left(self, give_up_at: float) -> float:
        return 0.0 if self._notifications.closing else give_up_at - monotonic()

    async def _read_now(self, operation: Operation) -> Operation:
        """The current operation, or the last known one while the database is unavailable."""
        try:
            return await self.get(operation.project_id, operation.id)
        except Unavailable:
            logger.warning("Operation %s can't be read at the moment", operation.id)
            return operation

    async def stream(
        self, project_id: UUID, operation_id: UUID, last_event_id: int = 0
    ) -> AsyncGenerator[OperationEvent, None]:
        """Events after the last one seen, as they happen, up to the one that ends the operation.

        The stream also ends when the process stops; a client reconnects to another.
        """
        async with self._notifications.subscribe(OPERATION_CHANGED, str(operation_id)) as changes:
            while not self._notifications.closing:
                batch = await self._read(project_id, operation_id, last_event_id)
                for event in batch.events:
                    last_event_id = event.id
                    yield event
                if batch.is_last:
                    return
                if not batch.is_full:
                    await changes.wait(self._poll)

    async def _read(self, project_id: UUID, operation_id: UUID, last_id: int) -> _Batch:
        try:
            async with self._database.transaction(project_id) as tx:
                # Read before the events: if the operation has ended, its last event is among those read next.
                operation = await store.get(tx, project_id, operation_id)
                events = await store.events_after(tx, project_id, operation_id, last_id, EVENTS_AT_ONCE)
        except Unavailable:
            # A restart of the database does not end the stream.
            logger.warning("The events of operation %s can't be read at the moment", operation_id)
            return _Batch((), has_ended=False)
        return _Batch(events, has_ended=operation.state.ended)
