"""Events of a project."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from app.api.schemas.common import Document, JsonObject
from app.lists.events import EventKind
from app.lists.events import ProjectEvent as LoggedEvent
from app.oci.timestamps import rfc3339


class ProjectEvent(Document):
    """An event in a project. Its `data` describes the list or the push at the time of the event."""

    id: str = Field(description="Ids increase. A stream resumes after an id.")
    type: EventKind
    timestamp: str
    project: str
    data: JsonObject


class ProjectEventPage(Document):
    items: list[ProjectEvent]
    next_cursor: str | None = None


def event_document(event: LoggedEvent, project: str) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "type": event.kind.value,
        "timestamp": rfc3339(event.created_at),
        "project": project,
        "data": event.data,
    }
