"""Ends lists at their deadlines: they fail, or with `allow_partial` are pushed as they are."""

from __future__ import annotations

import asyncio
import logging
from uuid import UUID

from app.errors import Unavailable
from app.lists.draft import Draft
from app.services.callers import Call
from app.services.lists.save import ListWriter
from app.store.database import Database, Transaction, savepoint
from app.store.lists import lock_late_list
from app.store.row_security.scopes import SYSTEM, acting_for

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0


class Deadlines:
    """Looks for late lists; any number of processes may do so at once."""

    def __init__(self, database: Database, lists: ListWriter, *, poll: float = POLL_SECONDS) -> None:
        self._database = database
        self._lists = lists
        self._poll = poll

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            if not await self._end_one():
                await asyncio.sleep(self._poll)

    async def _end_one(self) -> bool:
        """End one late list in its own transaction; return whether there may be more."""
        try:
            async with self._database.transaction(SYSTEM) as tx:
                late = await lock_late_list(tx)
                if late is None:
                    return False
                async with acting_for(tx, late[0]):
                    return await self._end(tx, *late)
        except Unavailable:
            logger.warning("Deadlines of lists wait for the database")
        except Exception:
            logger.exception("The search for late lists failed and will be repeated")
        return False

    async def _end(self, tx: Transaction, project_id: UUID, draft: Draft) -> bool:
        # Without a caller, a push that follows has only the operator's credentials.
        call = Call(project_id, draft.created_by)
        try:
            async with savepoint(tx):
                await self._lists.save_late(tx, call, draft)
        except Unavailable:
            raise
        except Exception:
            # A list that can't be ended must not block the others, so it is skipped from now on.
            logger.exception("List %s can't be ended at its deadline", draft.id)
            await self._lists.skip_late(tx, project_id, draft)
        return True
