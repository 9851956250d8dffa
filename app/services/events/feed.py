"""The feed of a project: its events are read once for all streams of this process."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from app.errors import Unauthenticated
from app.lists.events import ALL, EventFilter, ProjectEvent
from app.store import events as store
from app.store import tokens
from app.store.database import Database, Transaction

EVENTS_AT_ONCE = 100
# The shortest time between two reads of the log. Each event wakes every stream; without a pause, a burst of
# events would flood the database with reads.
PAUSE = 0.2
# How many events stay in memory. A stream that is further behind reads from the database on its own.
KEPT = 500
KEPT_BYTES = 8 * 1_048_576


@dataclass(frozen=True, slots=True)
class Batch:
    """Some events of a project.

    The next read starts after `end`. A full batch may have more behind it. A batch is alone if the stream
    read it from the database, and not from the feed.
    """

    events: Sequence[ProjectEvent]
    end: int
    is_full: bool = False
    is_alone: bool = False


class Feed:
    """The newest events of one project: all after `_start` and up to `_end`."""

    def __init__(self, database: Database, project_id: UUID) -> None:
        self.followers: Counter[UUID] = Counter()
        self._database = database
        self._project_id = project_id
        self._turn = asyncio.Lock()
        self._kept: deque[ProjectEvent] = deque()
        self._start = self._end = -1
        self._size = 0
        self._is_full = False
        self._read_at = float("-inf")
        self._revoked: frozenset[UUID] = frozenset()

    async def read(self, token_id: UUID, after: int, wanted: EventFilter) -> Batch | None:
        """The events after an id, or None if the feed no longer has all of them."""
        asked_at = _now()
        async with self._turn:
            if self._must_refill(after, asked_at):
                await self._refill(after)
        if token_id in self._revoked:
            raise Unauthenticated("The token was revoked.")
        if after < self._start:
            return None
        found = [event for event in self._kept if event.id > after and wanted.takes(event)]
        return Batch(found, self._end, self._is_full)

    def _must_refill(self, after: int, asked_at: float) -> bool:
        if after != self._end:
            return after > self._end
        return self._is_full or self._read_at < asked_at

    async def _refill(self, after: int) -> None:
        if not self._is_full:
            await asyncio.sleep(self._read_at + PAUSE - _now())
        read_at, following = _now(), frozenset(self.followers)
        async with self._database.transaction(self._project_id) as tx:
            live = await tokens.live_among(tx, following)
            begin = self._end if self._end >= 0 else after
            found, end, is_full = await self._read(tx, begin)
            if end < after:
                begin = after
                found, end, is_full = await self._read(tx, begin)
        if begin != self._end:
            self._kept.clear()
            self._start, self._size = begin, 0
        self._kept.extend(found)
        self._size += sum(map(_size, found))
        while len(self._kept) > KEPT or self._size > KEPT_BYTES:
            oldest = self._kept.popleft()
            self._start = oldest.id
            self._size -= _size(oldest)
        self._end, self._is_full = end, is_full
        self._read_at, self._revoked = read_at, following - live

    async def _read(self, tx: Transaction, after: int) -> tuple[Sequence[ProjectEvent], int, bool]:
        return await store.read_after(tx, self._project_id, after, ALL, EVENTS_AT_ONCE)


class Feeds:
    """One feed for each project that has streams; it lives as long as they do."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._feeds: dict[UUID, Feed] = {}

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


def _size(event: ProjectEvent) -> int:
    return len(json.dumps(event.data))


def _now() -> float:
    return asyncio.get_running_loop().time()
