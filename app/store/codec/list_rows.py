"""Lists and entries as rows, and rows as lists and entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app.lists.draft import Draft, Entry, Given, ImageFacts, ListState, Origin
from app.lists.origins.listing import IndexFacts, Kept, Listing
from app.oci.descriptor import parse_descriptor
from app.oci.digest import parse_digest
from app.oci.platform import Platform
from app.oci.reference import parse_reference
from app.store.codec.options import encode_options, read_options
from app.store.codec.platforms import encode_override, encode_platform, read_override, read_platform

_LISTING = "listing"
_IMAGE_FACTS = frozenset(member.name for member in fields(ImageFacts))


def encode_name(draft: Draft) -> dict[str, Any]:
    """The columns that never change."""
    return {
        "reference": str(draft.reference),
        "registry": draft.reference.registry,
        "repository": draft.reference.repository.path,
        "session": draft.session,
    }


def encode_state(draft: Draft) -> dict[str, Any]:
    """The columns that each change of the list may change."""
    return {
        "revision": draft.revision,
        "updated_at": draft.updated_at,
        "state": draft.state,
        **encode_options(draft.options),
        "push_operation_id": draft.push_operation_id,
        "last_push_id": draft.last_push_id,
        "problem": draft.problem,
    }


def read_list(row: Row[Any], list_entries: Sequence[Entry]) -> Draft:
    return Draft(
        id=row.id,
        reference=parse_reference(row.reference),
        session=row.session,
        revision=row.revision,
        state=ListState(row.state),
        options=read_options(row._mapping),  # noqa: SLF001 - the documented name of a row as a mapping
        entries=tuple(list_entries),
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        push_operation_id=row.push_operation_id,
        last_push_id=row.last_push_id,
        problem=row.problem,
    )


def encode_entry(project_id: UUID, list_id: UUID, entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "list_id": list_id,
        "project_id": project_id,
        "reference": str(entry.reference),
        "digest": str(entry.digest),
        "media_type": entry.media_type,
        "size": entry.size,
        "artifact_type": entry.artifact_type,
        "resolved_platform": encode_platform(entry.resolved_platform),
        "platform_override": encode_override(entry.override),
        "annotations": dict(entry.annotations),
        "image": entry.image.known,
        "origin": _encode_origin(entry.origin, entry.listing),
        "given": _encode_given(entry.given),
        "added_by": entry.added_by,
        "added_at": entry.added_at,
    }


def read_entry(row: Row[Any]) -> Entry:
    return Entry(
        id=row.id,
        reference=parse_reference(row.reference),
        media_type=row.media_type,
        digest=parse_digest(row.digest),
        size=row.size,
        resolved_platform=read_platform(row.resolved_platform),
        override=read_override(row.platform_override),
        annotations=row.annotations,
        # A newer version may have stored facts that this one does not know.
        image=ImageFacts(**{name: row.image[name] for name in _IMAGE_FACTS & row.image.keys()}),
        added_by=row.added_by,
        added_at=row.added_at,
        artifact_type=row.artifact_type,
        origin=_read_origin(row.origin),
        listing=_read_listing(row.origin),
        given=_read_given(row.given),
    )


def _encode_origin(origin: Origin | None, listing: Listing | None) -> dict[str, Any] | None:
    """An older version that writes the origin drops the listing, which it could not keep up to date."""
    if origin is None:
        return None
    platforms = [encode_platform(platform) for platform in origin.platforms]
    document = {"reference": str(origin.reference), "platforms": platforms, "narrowed": origin.narrowed}
    return document if listing is None else {**document, _LISTING: _encode_listing(listing)}


def _encode_listing(listing: Listing) -> dict[str, Any]:
    return {
        "index": str(listing.index),
        "index_type": listing.index_type,
        "count": listing.count,
        "platform": _encode_optional(listing.platform),
        "config_platform": _encode_optional(listing.config_platform),
        "annotations": dict(listing.annotations),
        "nested": [index.document() for index in listing.nested],
        "kept": {
            "urls": list(listing.kept.urls),
            "data": listing.kept.data,
            "features": list(listing.kept.features),
        },
        "facts": {
            "annotations": dict(listing.facts.annotations),
            "artifact_type": listing.facts.artifact_type,
        },
        "lost": list(listing.lost),
        "index_lost": list(listing.index_lost),
    }


def _encode_optional(platform: Platform | None) -> dict[str, Any] | None:
    return encode_platform(platform) if platform is not None else None


def _read_listing(origin: dict[str, Any] | None) -> Listing | None:
    document = (origin or {}).get(_LISTING)
    if document is None:
        return None
    return Listing(
        index=parse_digest(document["index"]),
        index_type=document["index_type"],
        count=document["count"],
        platform=_read_optional(document["platform"]),
        config_platform=_read_optional(document["config_platform"]),
        annotations=document["annotations"],
        nested=tuple(parse_descriptor(index) for index in document["nested"]),
        kept=_read_kept(document.get("kept")),
        facts=_read_facts(document.get("facts")),
        lost=tuple(document["lost"]),
        index_lost=tuple(document["index_lost"]),
    )


def _read_kept(document: dict[str, Any] | None) -> Kept:
    """An earlier version kept nothing, and named all of it as lost."""
    if document is None:
        return Kept()
    return Kept(tuple(document["urls"]), document["data"], tuple(document["features"]))


def _read_facts(document: dict[str, Any] | None) -> IndexFacts:
    return (
        IndexFacts() if document is None else IndexFacts(document["annotations"], document["artifact_type"])
    )


def _read_optional(document: dict[str, Any] | None) -> Platform | None:
    return read_platform(document) if document is not None else None


def _read_origin(document: dict[str, Any] | None) -> Origin | None:
    if document is None:
        return None
    platforms = tuple(read_platform(platform) for platform in document["platforms"])
    return Origin(parse_reference(document["reference"]), platforms, document.get("narrowed", False))


def _encode_given(given: Given | None) -> dict[str, Any] | None:
    if given is None:
        return None
    return {
        "call": given.call,
        "source": given.source,
        "member": given.member,
        "platform": encode_override(given.override),
        "platforms": [encode_platform(platform) for platform in given.platforms],
        "replaced": str(given.replaced) if given.replaced is not None else None,
    }


def _read_given(document: dict[str, Any] | None) -> Given | None:
    if document is None:
        return None
    replaced = document["replaced"]
    return Given(
        document["source"],
        document["member"],
        read_override(document["platform"]),
        tuple(read_platform(platform) for platform in document["platforms"]),
        document["call"],
        parse_reference(replaced) if replaced is not None else None,
    )
