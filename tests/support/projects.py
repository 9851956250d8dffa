"""A project in which a test records events, as services do."""

from __future__ import annotations

from uuid import UUID

from app.lists.events import EventKind
from app.services.events.log import Events
from app.store.database import Database, Transaction
from app.store.notifications import Notifications
from tests.support.postgres import ask


class Project:
    def __init__(self, database: Database, project_id: UUID) -> None:
        self._database = database
        self._events = Events(database, Notifications(""))
        self.id = project_id

    async def record_events(
        self,
        *names: str,
        kind: EventKind = EventKind.LIST_CHANGED,
        list_id: UUID | None = None,
        session: str = "",
    ) -> None:
        """All in one transaction."""
        async with self._database.transaction() as tx:
            for name in names:
                await self.record(tx, name, kind, list_id=list_id, session=session)

    async def record(
        self,
        tx: Transaction,
        name: str,
        kind: EventKind = EventKind.LIST_CHANGED,
        *,
        list_id: UUID | None = None,
        session: str = "",
    ) -> None:
        data = {"name": name, "session": session}
        await self._events.record(tx, self.id, kind, data, list_id=list_id)


async def find_project(database: Database, database_url: str, name: str = "default") -> Project:
    found = await ask(database_url, f"SELECT id FROM projects WHERE name = '{name}'")
    assert isinstance(found, UUID)
    return Project(database, found)
