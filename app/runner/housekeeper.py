"""Removes what has had its time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from app.errors import Unavailable
from app.store import idempotency, queue
from app.store.database import Database, Transaction

logger = logging.getLogger(__name__)

# True for one that is to be done again at once, in another transaction.
Chore = Callable[[Transaction], Awaitable[object]]

IDEMPOTENCY_KEYS_FOR = timedelta(days=7)
EVENTS_FOR = timedelta(days=7)
INTERVAL = timedelta(minutes=1)


async def forget_idempotency_keys(tx: Transaction) -> None:
    await idempotency.forget_expired(tx, IDEMPOTENCY_KEYS_FOR)


async def forget_events(tx: Transaction) -> None:
    await queue.forget_events(tx, EVENTS_FOR)


class Housekeeper:
    """Does each chore in a transaction of its own; several processes may do them at once."""

    def __init__(
        self,
        database: Database,
        chores: Sequence[Chore] = (),
        *,
        interval: timedelta = INTERVAL,
    ) -> None:
        self._database = database
        self._chores = (forget_idempotency_keys, forget_events, *chores)
        self._interval = interval

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for chore in self._chores:
                while await self._do(chore):
                    pass
            await asyncio.sleep(self._interval.total_seconds())

    async def _do(self, chore: Chore) -> bool:
        """Whether there is more of it."""
        try:
            async with self._database.transaction() as tx:
                return await chore(tx) is True
        except Unavailable:
            logger.warning("Housekeeping waits for the database")
        except Exception:
            logger.exception("A chore failed; it is tried again at the next round")
        return False
