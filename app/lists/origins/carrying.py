"""Decides which members a new list inherits from the indexes that its entries come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from app.lists.draft import Draft, Entry
from app.lists.origins.listing import IndexFacts, Kept, Listing, name_annotations, name_artifact_type
from app.oci.descriptor import Descriptor
from app.oci.index import Format


def carried_facts(draft: Draft) -> IndexFacts:
    """The annotations and artifact type of a list's index. The list's own override those of its sources.

    Of several source indexes, only the values that all of them share are inherited. Images that are sources
    themselves have no index and contribute nothing.
    """
    own = IndexFacts(draft.options.annotations, draft.options.artifact_type)
    listings = _by_index(draft)
    if not listings or draft.options.format is Format.DOCKER:
        return own
    first, *others = (listing.facts for listing in listings)
    shared = {
        key: text
        for key, text in first.annotations.items()
        if all(other.annotations.get(key) == text for other in others)
    }
    is_shared = all(other.artifact_type == first.artifact_type for other in others)
    artifact_type = first.artifact_type if is_shared else None
    return IndexFacts({**shared, **own.annotations}, own.artifact_type or artifact_type)


def describe_member(draft: Draft, entry: Entry) -> Descriptor:
    """The descriptor of an entry in the index of the list."""
    kept = _kept(draft, entry)
    return replace(entry.descriptor, urls=kept.urls, data=kept.data, features=kept.features)


def lost_of_entry(draft: Draft, entry: Entry) -> tuple[str, ...]:
    """The members of the entry's descriptor in its source index that the list drops."""
    if entry.listing is None:
        return ()
    kept = _kept(draft, entry).names
    return (*(name for name in entry.listing.kept.names if name not in kept), *entry.listing.lost)


def lost_of_index(draft: Draft, listing: Listing, carried: IndexFacts) -> tuple[str, ...]:
    """The members of a source index that the list drops. Members that the caller has set are not dropped."""
    return (
        *_uncarried(listing.facts, carried),
        *(name for name in listing.index_lost if not _is_set(draft, name)),
    )


def _kept(draft: Draft, entry: Entry) -> Kept:
    if entry.listing is None or draft.options.format is Format.DOCKER:
        return Kept()
    return entry.listing.kept


def _by_index(draft: Draft) -> list[Listing]:
    listings = {entry.listing.index: entry.listing for entry in draft.entries if entry.listing is not None}
    return list(listings.values())


def _uncarried(facts: IndexFacts, carried: IndexFacts) -> Iterator[str]:
    lost = [key for key in facts.annotations if key not in carried.annotations]
    if lost:
        yield name_annotations(lost)
    if facts.artifact_type and not carried.artifact_type:
        yield name_artifact_type(facts.artifact_type)


def _is_set(draft: Draft, name: str) -> bool:
    options = draft.options
    own = {
        "annotations": options.annotations,
        "artifactType": options.artifact_type,
        "subject": options.subject,
    }
    return bool(own.get(name.partition(" ")[0]))
