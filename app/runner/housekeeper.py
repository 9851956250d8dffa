"""Removes expired rows at regular intervals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial

from app.errors import Unavailable
from app.store import idempotency, operations
from app.store.database import Database, Transaction
from app.store.row_security.scopes import SYSTEM

logger = logging.getLogger(__name__)

# Returns whether there is more to remove right away, in another transaction.
Chore = Callable[[Transaction], Awaitable[object]]

IDEMPOTENCY_KEYS_FOR = timedelta(days=7)
EVENTS_FOR = timedelta(days=7)
INTERVAL = timedelta(minutes=1)


def in_batches(sweep: Callable[[Transaction], Awaitable[int]], size: int) -> Chore:
    """Repeat a sweep that removes up to `size` rows for as long as it removes that many."""

    async def chore(tx: Transaction) -> bool:
        return await sweep(tx) >= size

    return chore


_FORGET_KEYS = in_batches(
    partial(idempotency.forget_expired, older_than=IDEMPOTENCY_KEYS_FOR), idempotency.FORGOTTEN_AT_ONCE
)
_FORGET_EVENTS = in_batches(
    partial(operations.forget_events, older_than=EVENTS_FOR), operations.STEPS_FORGOTTEN_AT_ONCE
)


class Housekeeper:
    """Runs each chore in its own transaction; several processes may run the same chores concurrently."""

    def __init__(
        self,
        database: Database,
        chores: Sequence[Chore] = (),
        *,
        interval: timedelta = INTERVAL,
    ) -> None:
        self._database = database
        self._chores = (_FORGET_KEYS, _FORGET_EVENTS, *chores)
        self._interval = interval

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            for chore in self._chores:
                while await self._run_once(chore):
                    pass
            await asyncio.sleep(self._interval.total_seconds())

    async def _run_once(self, chore: Chore) -> bool:
        """Run a chore once; return whether there is more to remove."""
        try:
            async with self._database.transaction(SYSTEM) as tx:
                return await chore(tx) is True
        except Unavailable:
            logger.warning("Housekeeping waits for the database")
        except Exception:
            logger.exception("A housekeeping chore failed; the next round repeats it")
        return False
