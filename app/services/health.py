"""Whether this process can do its work."""

from __future__ import annotations

from app.errors import Unavailable
from app.store.database import Database
from app.store.migrate import is_current


class Readiness:
    """Asks the database, and nothing upstream: a registry that is down is no reason to send callers away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self) -> None:
        """Raises Unavailable, saying what to do."""
        async with self._database.transaction() as tx:
            if not await is_current(tx):
                raise Unavailable(
                    "The database is not at this version's tables: run manifest-broker migrate", retry_after=5
                )
