"""Builders of entries and drafts: tests set only the values that they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from app.lists.draft import Draft, Entry, ImageFacts, ListState, Origin
from app.lists.options import Options, apply_changes
from app.lists.origins.listing import Listing
from app.lists.overrides import PlatformOverride
from app.oci.digest import digest_of
from app.oci.media_types import OCI_INDEX, OCI_MANIFEST
from app.oci.platform import Platform
from app.oci.reference import parse_reference

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def entry(
    reference: str,
    platform: Platform | None = None,
    *,
    content: str | None = None,
    media_type: str = OCI_MANIFEST,
    override: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Entry:
    """An entry whose digest is that of `content`, or of its reference by default."""
    return Entry(
        id=uuid4(),
        reference=parse_reference(reference),
        media_type=media_type,
        digest=digest_of((content or reference).encode()),
        size=500,
        resolved_platform=platform or Platform("linux", "amd64"),
        override=PlatformOverride(override or {}),
        annotations=annotations or {},
        image=ImageFacts(),
        added_by="ci",
        added_at=NOW,
    )


def from_index(
    *entries: Entry,
    index: str = "index",
    selected: Sequence[Platform] = (),
    count: int | None = None,
    config: Platform | None = None,
    **listing: Any,
) -> list[Entry]:
    """Entries as they are taken from one index with all of them."""
    source = parse_reference("registry.test/source:1")
    return [
        replace(
            entry,
            reference=source.at(entry.digest),
            origin=Origin(source, tuple(selected)),
            listing=Listing(
                index=digest_of(index.encode()),
                index_type=OCI_INDEX,
                count=len(entries) if count is None else count,
                platform=entry.resolved_platform,
                config_platform=config or entry.resolved_platform,
                annotations=entry.annotations,
                **listing,
            ),
        )
        for entry in entries
    ]


def draft(reference: str = "registry.test/app:1", entries: Sequence[Entry] = (), **options: Any) -> Draft:
    return Draft(
        id=uuid4(),
        reference=parse_reference(reference),
        session="",
        revision=1,
        state=ListState.OPEN,
        options=apply_changes(Options(), options),
        entries=tuple(entries),
        created_by="ci",
        created_at=NOW,
        updated_at=NOW,
    )
