"""Refreshing a list: its sources are resolved again, and their new entries replace the old ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from app.lists.draft import Draft, Entry, Given, Origin
from app.lists.entry_changes import amend
from app.lists.origins.entry_order import in_order
from app.lists.overrides import NOTHING_SAID
from app.lists.source import Source
from app.lists.variants import choice
from app.oci.digest import Digest
from app.oci.platform import Platform
from app.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class Refreshed:
    """One entry whose source was resolved again; a new one has no `before`, a removed one no `after`."""

    entry_id: UUID
    reference: Reference
    platform: Platform
    before: Digest | None
    after: Digest | None


def plan_refresh(draft: Draft) -> tuple[Source, ...]:
    """The sources that may have changed: images and indexes that have a tag and no digest."""
    sources = {}
    for entry in in_order(draft):
        origin = _origin(entry)
        if origin.reference.digest is None:
            sources[origin] = Source(origin.reference, platforms=origin.platforms)
    return tuple(sources.values())


def refresh(
    draft: Draft, sources: Sequence[Source], resolved: Sequence[Sequence[Entry]]
) -> tuple[Draft, tuple[Refreshed, ...]]:
    """The list with the new entries of each source in place of its old ones, and the outcome for each entry.

    Overrides and annotations of callers stay with an entry if its platform still has an image. A source that
    was removed meanwhile is not added again, nor is an image that a caller has removed or replaced.
    """
    again = {Origin(source.reference, source.platforms) for source in sources}
    renewed = [entry for entry in draft.entries if _origin(entry) in again]
    known = {entry.id for entry in renewed}
    after = tuple(entry for entry in draft.entries if entry.id not in known)
    for source, found in zip(sources, resolved, strict=True):
        before = [entry for entry in renewed if _origin(entry) == Origin(source.reference, source.platforms)]
        if before:
            fresh = _to_keep(draft, _continued(found, before), before)
            allowed = draft.options.allow_duplicate_platforms
            after = amend(after, fresh, allow_duplicate_platforms=allowed).entries
    return replace(draft, entries=after), _compared(draft.entries, after, renewed)


def _origin(entry: Entry) -> Origin:
    """The source as it was named."""
    if entry.origin is not None:
        return entry.origin.whole
    return Origin(entry.reference, entry.given.platforms if entry.given is not None else ())


def _continued(found: Sequence[Entry], before: Sequence[Entry]) -> list[Entry]:
    """The images found as the entries that they continue, each at most once.

    One image that was named itself continues all entries that it stands for. An image of an index continues
    the entry of its reference and platform, then the only one of its reference, then one of its platform.
    """
    named = [old for old in before if old.origin is None]
    if named and len(found) == 1 and found[0].origin is None:
        return [_continue(old, found[0]) for old in named]
    left = list(before)
    fresh = [_begin(before, entry) for entry in found]
    unique = _unique_references(found) & _unique_references(before)
    for is_same in (
        lambda old, new: old.reference == new.reference and _is_listed_alike(old, new),
        lambda old, new: old.reference == new.reference and new.reference in unique,
        _is_listed_alike,
        _is_listed_for_same_platform,
        _is_for_same_platform,
    ):
        for place, entry in enumerate(found):
            if fresh[place].id != entry.id:
                continue
            same = [old for old in left if is_same(old, entry)]
            if same:
                old = next((old for old in same if _is_for_same_platform(old, entry)), same[0])
                left.remove(old)
                fresh[place] = _continue(old, entry)
    return fresh


def _is_listed_alike(old: Entry, new: Entry) -> bool:
    is_same = (old.resolved_platform, old.kind) == (new.resolved_platform, new.kind)
    return is_same and not new.platform.is_unknown


def _is_listed_for_same_platform(old: Entry, new: Entry) -> bool:
    """Another revision of a Windows build, or another way of writing the platform."""
    before, after = ((choice(each.resolved_platform), each.kind) for each in (old, new))
    return before == after and not new.platform.is_unknown


def _is_for_same_platform(old: Entry, new: Entry) -> bool:
    return old.choice == new.choice and not new.platform.is_unknown


def _unique_references(entries: Iterable[Entry]) -> set[Reference]:
    counts = Counter(entry.reference for entry in entries)
    return {reference for reference, count in counts.items() if count == 1}


def _continue(old: Entry, new: Entry) -> Entry:
    annotations = {**old.said, **new.annotations}
    given = _place_in_source(old.given, new)
    return replace(new, id=old.id, override=old.override, annotations=annotations, given=given)


def _begin(before: Sequence[Entry], new: Entry) -> Entry:
    """A new image of a source that the list has."""
    given = _place_in_source(before[0].given, new)
    given = replace(given, override=NOTHING_SAID, replaced=None) if given is not None else None
    return replace(new, given=given)


def _place_in_source(given: Given | None, new: Entry) -> Given | None:
    if given is None or new.given is None or new.origin is None:
        return given
    return replace(given, member=new.given.member)


def _to_keep(draft: Draft, fresh: Sequence[Entry], before: Sequence[Entry]) -> list[Entry]:
    """The entries to keep: those that continue an entry, and new ones whose platform is free.

    A narrowed index adds no new entries, because the caller may have removed that image.
    """
    known = {entry.id for entry in before}
    images = [entry for entry in fresh if entry.attests is None]
    narrowed = any(entry.origin is not None and entry.origin.narrowed for entry in before)
    if narrowed:
        wanted = [entry for entry in images if entry.id in known]
    elif draft.options.allow_duplicate_platforms:
        wanted = images
    else:
        taken = {entry.choice for entry in draft.entries if entry.id not in known}
        wanted = [entry for entry in images if entry.id in known or entry.choice not in taken]
    staying = {entry.id for entry in wanted}
    attested = {str(entry.digest) for entry in wanted} - (_bare(before, wanted) if narrowed else set())
    return [
        _as_narrow(entry, narrowed=narrowed)
        for entry in fresh
        if entry.id in staying or (entry.attests is not None and entry.attests in attested)
    ]


def _bare(before: Iterable[Entry], after: Iterable[Entry]) -> set[str]:
    """The digests of the images whose attestations were removed."""
    attested = {entry.attests for entry in before}
    bare = {entry.id for entry in before if str(entry.digest) not in attested}
    return {str(entry.digest) for entry in after if entry.id in bare}


def _as_narrow(entry: Entry, *, narrowed: bool) -> Entry:
    return replace(entry, origin=replace(entry.origin, narrowed=narrowed)) if entry.origin else entry


def _compared(
    before: Sequence[Entry], after: Sequence[Entry], renewed: Sequence[Entry]
) -> tuple[Refreshed, ...]:
    """The outcome for each entry that was resolved again, and for each other that was added or removed."""
    old, new = ({entry.id: entry for entry in entries} for entries in (before, after))
    again = {entry.id for entry in renewed}
    return tuple(
        Refreshed(
            entry_id=identity,
            reference=_origin(new.get(identity) or old[identity]).reference,
            platform=(new.get(identity) or old[identity]).platform,
            before=old[identity].digest if identity in old else None,
            after=new[identity].digest if identity in new else None,
        )
        for identity in dict.fromkeys([*old, *new])
        if identity in again or identity not in old or identity not in new
    )
