"""Operations for those who wait for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import datetime
from time import monotonic
from uuid import UUID

from app.operations.states import Kind, State
from app.services.attempts import Handler, conclude
from app.store import operations as store
from app.store.database import Database
from app.store.notifications import OPERATION_CHANGED, OPERATION_ENDED, Notifications
from app.store.operations import Operation, OperationEvent

POLL_SECONDS = 5.0
EVENTS_AT_ONCE = 100


class Operations:
    """`handlers` are told of operations that are cancelled before a worker has them."""

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
        async with self._database.transaction() as tx:
            return await store.get(tx, project_id, operation_id)

    async def page(
        self,
        project_id: UUID,
        *,
        state: State | None = None,
        kind: Kind | None = None,
        list_id: UUID | None = None,
        before: tuple[datetime, UUID] | None = None,
        limit: int,
    ) -> list[Operation]:
        async with self._database.transaction() as tx:
            return await store.page(
                tx, project_id, state=state, kind=kind, list_id=list_id, before=before, limit=limit
            )

    async def cancel(self, project_id: UUID, operation_id: UUID) -> Operation:
        async with self._database.transaction() as tx:
            operation = await store.request_cancel(tx, project_id, operation_id)
            if operation.state.ended:
                await conclude(tx, self._handlers, operation)
        return operation

    async def wait(self, project_id: UUID, operation_id: UUID, seconds: float) -> Operation:
        """The operation once it has ended, or as it is after `seconds`; no connection is held meanwhile."""
        give_up = monotonic() + seconds
        async with self._notifications.subscribe(OPERATION_ENDED, str(operation_id)) as end:
            operation = await self.get(project_id, operation_id)
            while not operation.state.ended and (left := give_up - monotonic()) > 0:
                await end.wait(min(left, self._poll))
                operation = await self.get(project_id, operation_id)
        return operation

    async def stream(
        self, project_id: UUID, operation_id: UUID, last_event_id: int = 0
    ) -> AsyncGenerator[OperationEvent, None]:
        """Events after the last one seen, as they happen; ends after the one that ends the operation."""
        async with self._notifications.subscribe(OPERATION_CHANGED, str(operation_id)) as changes:
            while True:
                # Read before the events: if it has ended, the event that says so is among those read next.
                operation = await self.get(project_id, operation_id)
                async for event in self._events(project_id, operation_id, last_event_id):
                    last_event_id = event.id
                    yield event
                if operation.state.ended:
                    return
                await changes.wait(self._poll)

    async def _events(
        self, project_id: UUID, operation_id: UUID, last_id: int
    ) -> AsyncIterator[OperationEvent]:
        full = True
        while full:
            async with self._database.transaction() as tx:
                events = await store.events_after(tx, project_id, operation_id, last_id, EVENTS_AT_ONCE)
            for event in events:
                last_id = event.id
                yield event
            full = len(events) == EVENTS_AT_ONCE
