"""The feed of a project: its events are read once for all streams of this process."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from app.errors import TooManyStreams, Unauthenticated
from app.lists.events import ALL, EventFilter, ProjectEvent
from app.store import events as store
from app.store import tokens
from app.store.database import Database, Transaction

EVENTS_AT_ONCE = 100
# All who follow are woken by each event. What one of them has read is there for the others; and while much
# happens it is read so many seconds apart, for else the database would be asked for little else.
PAUSE = 0.2
# Who reads slowly finds so many here before the database is asked for it alone.
KEPT = 500
MOST_FOLLOWERS = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """`end` is where to go on, a full one has more behind it, and one that is alone is one reader's."""

    events: Sequence[ProjectEvent]
    end: int
    is_full: bool = False
    is_alone: bool = False


class Feed:
    """The latest of one project: all events after `_start` and up to `_end`."""

    def __init__(self, database: Database, project_id: UUID) -> None:
        self.followers: Counter[UUID] = Counter()
        self._database = database
        self._project_id = project_id
        self._turn = asyncio.Lock()
        self._kept: deque[ProjectEvent] = deque()
        self._start = self._end = -1
        self._is_full = False
        self._looked_at = float("-inf")
        self._revoked: frozenset[UUID] = frozenset()

    async def read(self, token_id: UUID, after: int, wanted: EventFilter) -> Batch | None:
        """The events after an id, or None if the feed no longer has all of them."""
        asked_at = _now()
        async with self._turn:
            if self._has_to_look(after, asked_at):
                await self._look(after)
        if token_id in self._revoked:
            raise Unauthenticated("The token was revoked.")
        if after < self._start:
            return None
        found = [event for event in self._kept if event.id > after and wanted.takes(event)]
        return Batch(found, self._end, self._is_full)

    def _has_to_look(self, after: int, asked_at: float) -> bool:
        if after != self._end:
            return after > self._end
        return self._is_full or self._looked_at < asked_at

    async def _look(self, after: int) -> None:
        if not self._is_full:
            await asyncio.sleep(self._looked_at + PAUSE - _now())
        looked_at, following = _now(), frozenset(self.followers)
        async with self._database.transaction() as tx:
            live = await tokens.live_among(tx, following)
            begin = self._end if self._end >= 0 else after
            found, end = await self._read(tx, begin)
            if end < after:
                begin = after
                found, end = await self._read(tx, begin)
        if begin != self._end:
            self._kept.clear()
            self._start = begin
        self._kept.extend(found)
        while len(self._kept) > KEPT:
            self._start = self._kept.popleft().id
        self._end, self._is_full = end, len(found) == EVENTS_AT_ONCE
        self._looked_at, self._revoked = looked_at, following - live

    async def _read(self, tx: Transaction, after: int) -> tuple[Sequence[ProjectEvent], int]:
        return await store.read_after(tx, self._project_id, after, ALL, EVENTS_AT_ONCE)


class Feeds:
    """One for each project that is followed, as long as it is."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._feeds: dict[UUID, Feed] = {}

    def refuse_crowd(self, project_id: UUID) -> None:
        """Each of them costs memory, and none of them ends by itself."""
        feed = self._feeds.get(project_id)
        if feed is not None and feed.followers.total() >= MOST_FOLLOWERS:
            raise TooManyStreams(
                f"The project already has {MOST_FOLLOWERS} event streams here. End one, or retry later.",
                retry_after=30,
            )

    @contextmanager
    def follow(self, project_id: UUID, token_id: UUID) -> Iterator[Feed]:
        feed = self._feeds.setdefault(project_id, Feed(self._database, project_id))
        feed.followers[token_id] += 1
        try:
            yield feed
        finally:
            feed.followers[token_id] -= 1
            feed.followers += Counter()
            if not feed.followers:
                del self._feeds[project_id]


def _now() -> float:
    return asyncio.get_running_loop().time()
