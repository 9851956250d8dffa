"""A project in which a test records events, as services do."""

from __future__ import annotations

from uuid import UUID, uuid4

from app.lists.draft import ListState
from app.lists.events import EventKind, ListEvent
from app.oci.reference import parse_reference
from app.services.events.log import Events
from app.store.database import Database, Transaction
from app.store.notifications import Notifications
from tests.support.postgres import ask


def named_event(name: str, *, list_id: UUID | None = None, session: str = "") -> ListEvent:
    """An event of a list that a test tells from others by its label `name`."""
    return ListEvent(
        list_id=list_id or uuid4(),
        reference=parse_reference("registry.test/app:1"),
        session=session,
        revision=1,
        state=ListState.OPEN,
        is_complete=False,
        platforms=(),
        missing_platforms=(),
        digest=None,
        media_type=None,
        labels={"name": name},
        problem=None,
        push_operation_id=None,
    )


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
        await self._events.record(tx, self.id, kind, named_event(name, list_id=list_id, session=session))


async def find_project(database: Database, database_url: str, name: str = "default") -> Project:
    found = await ask(database_url, f"SELECT id FROM projects WHERE name = '{name}'")
    assert isinstance(found, UUID)
    return Project(database, found)
