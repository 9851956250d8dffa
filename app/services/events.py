"""What happened in a project: written down by those who do it, told to those who ask or asked to be told."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.errors import Unauthenticated, Unavailable
from app.lists.events import EventKind
from app.services.callers import Caller
from app.services.deliveries import begin
from app.store import events as store
from app.store import tokens
from app.store.database import Database, Transaction
from app.store.events import ALL, EventFilter, ProjectEvent
from app.store.notifications import PROJECT_EVENT, Notifications
from app.store.webhooks import wanting

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
EVENTS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class _Batch:
    """`end` is where to go on; a full one has more behind it."""

    events: Sequence[ProjectEvent]
    end: int

    @property
    def is_full(self) -> bool:
        return len(self.events) == EVENTS_AT_ONCE


class Events:
    """The log of each project, and the streams that follow it."""

    def __init__(
        self, database: Database, notifications: Notifications, *, poll: float = POLL_SECONDS
    ) -> None:
        self._database = database
        self._notifications = notifications
        self._poll = poll

    async def record(
        self,
        tx: Transaction,
        project_id: UUID,
        kind: EventKind,
        data: dict[str, Any],
        *,
        list_id: UUID | None = None,
        push_id: UUID | None = None,
    ) -> None:
        """Told to everyone once the transaction commits.

        It comes last in it, after every row that is locked: those who record in one project take turns, and
        who waits for a turn must hold nothing that the one before still needs.
        """
        # Asked before it is our turn, which others of the project wait for.
        told = await wanting(tx, project_id, kind)
        event = await store.record(tx, project_id, kind, data, list_id=list_id, push_id=push_id)
        for webhook in told:
            await begin(tx, webhook, event.id)

    async def newest(self, project_id: UUID) -> int:
        """Where a stream begins that is to tell of what happens from now on."""
        async with self._database.transaction() as tx:
            return await store.newest(tx, project_id)

    async def page(
        self, project_id: UUID, wanted: EventFilter, *, before: int | None, limit: int
    ) -> list[ProjectEvent]:
        async with self._database.transaction() as tx:
            return await store.page(tx, project_id, wanted, before=before, limit=limit)

    async def stream(
        self, caller: Caller, after: int, wanted: EventFilter = ALL
    ) -> AsyncGenerator[ProjectEvent, None]:
        """Everything after an event, as it happens; ends when the caller's token is revoked.

        No connection to the database is held while nothing happens.
        """
        async with self._notifications.subscribe(PROJECT_EVENT, str(caller.project_id)) as news:
            while True:
                try:
                    batch = await self._read(caller, after, wanted)
                except Unauthenticated:
                    return
                for event in batch.events:
                    yield event
                after = batch.end
                if not batch.is_full:
                    await news.wait(self._poll)

    async def _read(self, caller: Caller, after: int, wanted: EventFilter) -> _Batch:
        try:
            async with self._database.transaction() as tx:
                await tokens.require_live(tx, caller.token_id)
                return _Batch(*await store.read_after(tx, caller.project_id, after, wanted, EVENTS_AT_ONCE))
        except Unavailable:
            # Who follows a project is not cut off by a restart of the database.
            logger.warning("The events of project %s can't be read at the moment", caller.project_id)
            return _Batch((), after)
