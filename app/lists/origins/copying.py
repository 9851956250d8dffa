"""Exact copies: a list of one unchanged source keeps the bytes of that source, and so its digest."""

from __future__ import annotations

from app.lists.draft import Draft, Entry
from app.lists.origins.listing import Listing
from app.oci import media_types
from app.oci.index import Format
from app.oci.reference import Reference

_TYPES = {Format.DOCKER: media_types.DOCKER_TYPES, Format.OCI: media_types.OCI_TYPES}


def find_copied(draft: Draft) -> Reference | None:
    """The source whose bytes the list keeps, by its digest.

    An index is copied unless the caller asks for something else. An image is copied only with `exact`, since
    Docker makes a list of it.
    """
    if draft.options.exact is False or find_obstacle(draft) is not None:
        return None
    first = draft.entries[0]
    if first.listing is not None:
        is_selected = any(entry.origin is not None and entry.origin.platforms for entry in draft.entries)
        copied = None if is_selected and not draft.options.exact else first.listing.index
    else:
        copied = first.digest if draft.options.exact else None
    return None if copied is None else first.reference.repository.at(copied)


def find_obstacle(draft: Draft) -> str | None:
    """The reason why the list can't keep the bytes of a source; None if it can."""
    options = draft.options
    if not draft.entries:
        return "the list has no entries"
    if options.annotations or options.artifact_type or options.subject:
        return "the list has annotations, an artifact type or a subject of its own"
    first = draft.entries[0]
    if first.listing is None:
        return _obstacle_to_image(draft, first)
    return _obstacle_to_index(draft, first.listing)


def only_index(draft: Draft) -> Listing | None:
    """The index from which all entries come; None if they do not share one."""
    listings = [entry.listing for entry in draft.entries]
    first = listings[0] if listings else None
    same = (
        all(listing is not None and listing.index == first.index for listing in listings) if first else False
    )
    return first if same else None


def _obstacle_to_image(draft: Draft, first: Entry) -> str | None:
    if first.origin is not None:
        return f"{first.reference} was added by an earlier version. Refresh the list"
    if len(draft.entries) > 1:
        return "the list has more than one source"
    return _obstacle_in_format(draft, first.media_type) or _change(first)


def _obstacle_to_index(draft: Draft, listing: Listing) -> str | None:
    if only_index(draft) is None:
        return "the list has more than one source"
    if len(draft.entries) != listing.count:
        return f"the list has {len(draft.entries)} of the {listing.count} manifests of the index"
    changes = (_change(entry) for entry in draft.entries)
    return _obstacle_in_format(draft, listing.index_type) or next(filter(None, changes), None)


def _obstacle_in_format(draft: Draft, media_type: str) -> str | None:
    allowed = _TYPES.get(draft.options.format)
    if allowed is None or media_type in allowed:
        return None
    return f"the source has the media type {media_type}, and the list has the format {draft.options.format}"


def _change(entry: Entry) -> str | None:
    if entry.listing is not None and entry.reference.digest != entry.digest:
        return f"the index lists {entry.reference}, and the broker copies by sha256 alone"
    annotations = entry.listing.annotations if entry.listing is not None else {}
    if entry.platform != entry.resolved_platform:
        return f"{entry.reference} has another platform than in its source"
    if entry.annotations != annotations:
        return f"{entry.reference} has other annotations than in its source"
    return None
