"""Readiness of this process."""

from __future__ import annotations

from app.errors import Unavailable
from app.store.database import Database
from app.store.migrate import is_current


class Readiness:
    """Checks the database alone: the process stays ready while a registry is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self) -> None:
        """Raise Unavailable with the remedy if the process is not ready."""
        async with self._database.transaction() as tx:
            if not await is_current(tx):
                raise Unavailable(
                    "The database schema is not that of this version. Run manifest-broker migrate.",
                    retry_after=5,
                )
