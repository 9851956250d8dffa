"""The events of a project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.lists.assessment import Assessment
from app.lists.draft import Draft, ListState
from app.lists.origins.entry_order import in_order
from app.lists.pushes import PushView
from app.oci.digest import Digest
from app.oci.platform import Platform
from app.oci.reference import Reference


class EventKind(StrEnum):
    LIST_CREATED = "list.created"
    LIST_CHANGED = "list.changed"
    LIST_COMPLETED = "list.completed"
    LIST_FAILED = "list.failed"
    LIST_PUSHED = "list.pushed"
    LIST_REMOVED = "list.removed"
    PUSH_FAILED = "push.failed"
    WEBHOOK_TEST = "webhook.test"


@dataclass(frozen=True, slots=True)
class ListEvent:
    """A list at the time of an event; `problem` is an error in its stored form."""

    list_id: UUID
    reference: Reference
    session: str
    revision: int
    state: ListState
    is_complete: bool
    platforms: tuple[Platform, ...]
    missing_platforms: tuple[Platform, ...]
    digest: Digest | None
    media_type: str | None
    labels: Mapping[str, str]
    problem: Mapping[str, Any] | None
    push_operation_id: UUID | None


def describe_list(draft: Draft, assessment: Assessment) -> ListEvent:
    index = assessment.index
    return ListEvent(
        list_id=draft.id,
        reference=draft.reference,
        session=draft.session,
        revision=draft.revision,
        state=draft.state,
        is_complete=assessment.is_complete,
        platforms=_platforms(draft),
        missing_platforms=assessment.missing_platforms,
        digest=index.digest if index is not None else None,
        media_type=index.media_type if index is not None else None,
        labels=draft.options.labels,
        problem=draft.problem,
        push_operation_id=draft.push_operation_id,
    )


def _platforms(draft: Draft) -> tuple[Platform, ...]:
    """Those of images; attestations have none, and artifacts need none."""
    return tuple(
        entry.platform
        for entry in in_order(draft)
        if entry.descriptor.platform is not None and not entry.platform.is_unknown
    )


@dataclass(frozen=True, slots=True)
class PushEvent:
    """A push that has ended."""

    push: PushView


@dataclass(frozen=True, slots=True)
class WebhookTest:
    """A test event for one webhook, sent on request."""

    webhook_id: UUID
    requested_by: str


EventFacts = ListEvent | PushEvent | WebhookTest


@dataclass(frozen=True, slots=True)
class ProjectEvent:
    """One event in the log of a project; ids grow in the order in which readers see the events.

    `data` is the document as recorded, and is never encoded again: receivers of webhooks verify its bytes,
    which must not depend on the version of the broker that delivers them.
    """

    id: int
    project_id: UUID
    kind: EventKind
    data: Mapping[str, Any]
    list_id: UUID | None
    push_id: UUID | None
    session: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A filter for events; None matches everything, and so does an empty set of kinds."""

    kinds: frozenset[EventKind] = field(default_factory=frozenset)
    list_id: UUID | None = None
    session: str | None = None

    def takes(self, event: ProjectEvent) -> bool:
        """The same decision as the SQL filter of the store."""
        return (
            (not self.kinds or event.kind in self.kinds)
            and self.list_id in {None, event.list_id}
            and self.session in {None, event.session}
        )


ALL = EventFilter()
