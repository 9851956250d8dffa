"""The log of a project: services record events, which streams and webhooks receive."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from uuid import UUID

from app.errors import Unauthenticated, Unavailable
from app.lists.events import ALL, EventFacts, EventFilter, EventKind, ListEvent, ProjectEvent, PushEvent
from app.services.callers import Caller
from app.services.events.feed import EVENTS_AT_ONCE, Batch, Feed, Feeds
from app.services.webhooks.deliveries import begin
from app.store import events as store
from app.store import tokens
from app.store.codec.events import encode_event
from app.store.database import Database, Transaction
from app.store.notifications import PROJECT_EVENT, Notifications
from app.store.webhooks import wanting

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0


class Events:
    """The log of each project, and the streams that follow it."""

    def __init__(
        self, database: Database, notifications: Notifications, *, poll: float = POLL_SECONDS
    ) -> None:
        self._database = database
        self._notifications = notifications
        self._poll = poll
        self._feeds = Feeds(database)

    async def record(self, tx: Transaction, project_id: UUID, kind: EventKind, facts: EventFacts) -> None:
        """Record an event; streams and webhooks get it once the transaction commits.

        It comes last in the transaction, after every row lock: recorders of one project take turns, and a
        recorder that waits must hold no lock that an earlier one still needs.
        """
        # Read before the log is locked, because other recorders of the project wait for that lock.
        webhooks = await wanting(tx, project_id, kind)
        list_id, push_id = _subjects(facts)
        data = encode_event(facts)
        event = await store.record(tx, project_id, kind, data, list_id=list_id, push_id=push_id)
        for webhook in webhooks:
            await begin(tx, webhook, event.id)

    async def find_start(self, project_id: UUID, last_event_id: int | None) -> int:
        """The id after which a stream begins: the client's last one, or the newest.

        An id in the future comes from another broker, or from before a restore of the database. A stream that
        waited for it would stay silent until then, so the stream begins at the newest.
        """
        async with self._database.transaction(project_id) as tx:
            newest = await store.newest(tx, project_id)
        return newest if last_event_id is None else min(last_event_id, newest)

    async def page(
        self, project_id: UUID, wanted: EventFilter, *, before: int | None, limit: int
    ) -> list[ProjectEvent]:
        async with self._database.transaction(project_id) as tx:
            return await store.page(tx, project_id, wanted, before=before, limit=limit)

    async def stream(
        self, caller: Caller, after: int, wanted: EventFilter = ALL
    ) -> AsyncGenerator[ProjectEvent, None]:
        """Everything after an event, as it happens; ends when the caller's token is revoked.

        No connection to the database is held while nothing happens.
        """
        project_id = caller.project_id
        with self._feeds.follow(project_id, caller.token_id) as feed:
            async with self._notifications.subscribe(PROJECT_EVENT, str(project_id)) as news:
                batch = Batch((), after, is_full=True, is_alone=True)
                while not self._notifications.closing:
                    try:
                        batch = await self._read_next(feed, caller, batch, wanted)
                    except Unauthenticated:
                        return
                    for event in batch.events:
                        yield event
                    if not batch.is_full:
                        await news.wait(self._poll)

    async def _read_next(self, feed: Feed, caller: Caller, last: Batch, wanted: EventFilter) -> Batch:
        """The next events: from the feed, or from the database for a reader that is far behind."""
        try:
            if not (last.is_full and last.is_alone):
                batch = await feed.read(caller.token_id, last.end, wanted)
                if batch is not None:
                    return batch
            return await self._read_from_database(caller, last.end, wanted)
        except Unavailable:
            # A restart of the database does not end streams.
            logger.warning("The events of project %s can't be read at the moment", caller.project_id)
            return Batch((), last.end)

    async def _read_from_database(self, caller: Caller, after: int, wanted: EventFilter) -> Batch:
        async with self._database.transaction(caller.project_id) as tx:
            await tokens.require_live(tx, caller.token_id)
            events, end, is_full = await store.read_after(
                tx, caller.project_id, after, wanted, EVENTS_AT_ONCE
            )
        return Batch(events, end, is_full=is_full, is_alone=True)


def _subjects(facts: EventFacts) -> tuple[UUID | None, UUID | None]:
    """The ids of the list and of the push under which an event is found."""
    match facts:
        case ListEvent():
            return facts.list_id, None
        case PushEvent():
            return facts.push.list_id, facts.push.id
        case _:
            return None, None
