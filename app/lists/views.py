"""A list as its callers read it: the draft with its assessment; and the filter that selects lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from app.lists.assessment import Assessment
from app.lists.draft import Draft, Entry, ImageFacts, ListState
from app.lists.findings.finding import Finding
from app.lists.options import Options
from app.lists.origins.copying import find_copied
from app.lists.origins.entry_order import in_order
from app.lists.refreshing import Refreshed
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.platform import Platform
from app.oci.reference import Reference

# By entry id, the digest of the image that the entry has replaced.
Replaced = Mapping[UUID, Digest]


@dataclass(frozen=True, slots=True)
class EntryView:
    id: UUID
    reference: Reference
    descriptor: Descriptor
    platform: Platform
    resolved_platform: Platform
    index_platform: Platform | None
    annotations: Mapping[str, str]
    image: ImageFacts
    replaced: Digest | None
    added_by: str
    added_at: datetime


@dataclass(frozen=True, slots=True)
class ListView:
    """`entries` are in the order of the index; without an index, `findings` say why."""

    id: UUID
    reference: Reference
    session: str
    revision: int
    state: ListState
    is_complete: bool
    missing_platforms: tuple[Platform, ...]
    options: Options
    entries: tuple[EntryView, ...]
    digest: Digest | None
    media_type: str | None
    copies: Reference | None
    findings: tuple[Finding, ...]
    problem: Mapping[str, Any] | None
    push_operation_id: UUID | None
    last_push_id: UUID | None
    created_by: str
    created_at: datetime
    updated_at: datetime

    def with_replaced(self, replaced: Replaced) -> ListView:
        """The view for one of several callers that changed the list in one transaction."""
        entries = tuple(replace(each, replaced=replaced.get(each.id)) for each in self.entries)
        return replace(self, entries=entries)


@dataclass(frozen=True, slots=True)
class RefreshedListView:
    """A list whose sources were resolved again, with the outcome for each entry."""

    view: ListView
    refreshed: tuple[Refreshed, ...]


def view_entry(entry: Entry) -> EntryView:
    return EntryView(
        id=entry.id,
        reference=entry.reference,
        descriptor=entry.descriptor,
        platform=entry.platform,
        resolved_platform=entry.config_platform or entry.resolved_platform,
        index_platform=entry.listing.platform if entry.listing is not None else None,
        annotations=entry.annotations,
        image=entry.image,
        replaced=None,
        added_by=entry.added_by,
        added_at=entry.added_at,
    )


def view_list(draft: Draft, assessment: Assessment) -> ListView:
    index = assessment.index
    return ListView(
        id=draft.id,
        reference=draft.reference,
        session=draft.session,
        revision=draft.revision,
        state=draft.state,
        is_complete=assessment.is_complete,
        missing_platforms=assessment.missing_platforms,
        options=draft.options,
        entries=tuple(view_entry(entry) for entry in in_order(draft)),
        digest=index.digest if index is not None else None,
        media_type=index.media_type if index is not None else None,
        copies=find_copied(draft) if index is not None else None,
        findings=assessment.findings,
        problem=draft.problem,
        push_operation_id=draft.push_operation_id,
        last_push_id=draft.last_push_id,
        created_by=draft.created_by,
        created_at=draft.created_at,
        updated_at=draft.updated_at,
    )


@dataclass(frozen=True, slots=True)
class ListFilter:
    """A filter; None matches everything."""

    reference: str | None = None
    registry: str | None = None
    repository: str | None = None
    session: str | None = None
    state: ListState | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
