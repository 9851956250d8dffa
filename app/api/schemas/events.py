"""What happened in a project."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from app.api.schemas.common import Document, JsonObject
from app.lists.events import EventKind
from app.services.documents import instant
from app.store.events import ProjectEvent as StoredEvent


class ProjectEvent(Document):
    """One thing that happened in a project; its `data` says what the list or the push was like then."""

    id: str = Field(description="Ids grow; a stream resumes after one.")
    type: EventKind
    timestamp: str
    project: str
    data: JsonObject


class ProjectEventPage(Document):
    items: list[ProjectEvent]
    next_cursor: str | None = None


def event_document(event: StoredEvent, project: str) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "type": event.kind.value,
        "timestamp": instant(event.created_at),
        "project": project,
        "data": event.data,
    }
