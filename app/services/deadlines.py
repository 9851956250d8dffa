"""Lists that were not complete in time: they fail visibly, or are pushed with what they have if they may."""

from __future__ import annotations

import asyncio
import logging
from uuid import UUID

from app.errors import Unavailable
from app.lists.draft import Draft
from app.services.callers import Call
from app.services.saving import Saving
from app.store.database import Database, Transaction
from app.store.lists import lock_late_lists

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
AT_ONCE = 50


class Deadlines:
    """Looks for late lists; any number of processes may do so at once."""

    def __init__(self, database: Database, saving: Saving, *, poll: float = POLL_SECONDS) -> None:
        self._database = database
        self._saving = saving
        self._poll = poll

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if await self._look() < AT_ONCE:
                await asyncio.sleep(self._poll)

    async def _look(self) -> int:
        """How many were found."""
        try:
            async with self._database.transaction() as tx:
                late = await lock_late_lists(tx, AT_ONCE)
                for project_id, draft in late:
                    await self._end(tx, project_id, draft)
                return len(late)
        except Unavailable:
            logger.warning("Deadlines of lists wait for the database")
        except Exception:
            logger.exception("The deadlines of lists can't be looked after; it is tried again")
        return 0

    async def _end(self, tx: Transaction, project_id: UUID, draft: Draft) -> None:
        # Nobody calls, so a push that follows has the operator's credentials alone.
        call = Call(project_id, draft.created_by)
        try:
            async with tx.begin_nested():
                await self._saving.save_late(tx, call, draft)
        except Unavailable:
            raise
        except Exception:
            # One that can't be ended must not keep the others from it.
            logger.exception("The list %s can't be ended at its deadline", draft.id)
