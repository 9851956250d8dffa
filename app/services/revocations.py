"""Ends the streams and waiting calls of revoked and expired tokens, in every process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import UUID

from app.errors import Unauthenticated, Unavailable
from app.store import tokens
from app.store.database import Database
from app.store.notifications import TOKEN_REVOKED, Notifications
from app.store.row_security.scopes import SYSTEM

logger = logging.getLogger(__name__)

# Notifications can get lost, so the tokens are also read at this interval.
LOOK_SECONDS = 3.0

End = Callable[[], None]


class Revocations:
    """Re-checks the tokens of long calls, because authentication happens only once per call."""

    def __init__(
        self, database: Database, notifications: Notifications, *, interval: float = LOOK_SECONDS
    ) -> None:
        self._database = database
        self._notifications = notifications
        self._interval = interval
        self._watched: dict[UUID, set[End]] = {}

    async def run(self) -> None:
        """Check the tokens after every notification and at intervals, until cancelled."""
        async with self._notifications.subscribe(TOKEN_REVOKED) as news:
            while True:
                await news.wait(self._interval)
                await self._look()

    @asynccontextmanager
    async def unless_revoked(self, token_id: UUID) -> AsyncIterator[None]:
        """Cancel the block and raise Unauthenticated once the token is revoked."""
        try:
            async with asyncio.timeout(None) as limit:

                def end() -> None:
                    if not limit.expired():
                        limit.reschedule(asyncio.get_running_loop().time())

                with self._watch(token_id, end):
                    yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise Unauthenticated("The token was revoked, or has expired.") from None

    @contextmanager
    def _watch(self, token_id: UUID, end: End) -> Iterator[None]:
        self._watched.setdefault(token_id, set()).add(end)
        try:
            yield
        finally:
            ends = self._watched[token_id]
            ends.discard(end)
            if not ends:
                del self._watched[token_id]

    async def _look(self) -> None:
        watched = set(self._watched)
        if not watched:
            return
        try:
            async with self._database.transaction(SYSTEM) as tx:
                live = await tokens.live_among(tx, watched)
        except Unavailable:
            # A restart of the database must not end streams.
            logger.warning("The tokens of streams and waiting calls can't be read at the moment")
            return
        for token_id in watched - live:
            for end in list(self._watched.get(token_id, ())):
                end()
