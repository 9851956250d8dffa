"""Refreshing a list: its sources are resolved again, and their new entries replace the old ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from app.lists.draft import Draft, Entry, Origin, amend
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
    for entry in draft.in_order:
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
    """The source as the caller named it."""
    return entry.origin.whole if entry.origin else Origin(entry.reference)


def _continued(found: Sequence[Entry], before: Sequence[Entry]) -> list[Entry]:
    """An image of the same reference is the same entry, of the rest one for the same platform; each once."""
    left = {entry.id: entry for entry in before}
    fresh = list(found)
    for is_same in (_same_reference, _same_platform, _same_choice):
        for place, entry in enumerate(fresh):
            old = next((each for each in left.values() if is_same(each, entry)), None)
            if old is not None and entry.id == found[place].id:
                del left[old.id]
                annotations = {**old.said, **entry.annotations}
                fresh[place] = replace(entry, id=old.id, override=old.override, annotations=annotations)
    return fresh


def _same_reference(old: Entry, new: Entry) -> bool:
    return old.reference == new.reference


def _same_platform(old: Entry, new: Entry) -> bool:
    is_same = (old.resolved_platform, old.artifact_type) == (new.resolved_platform, new.artifact_type)
    return is_same and not new.platform.is_unknown


def _same_choice(old: Entry, new: Entry) -> bool:
    """Another revision of a Windows build, or another way of writing the platform."""
    before, after = ((choice(each.resolved_platform), each.artifact_type) for each in (old, new))
    return before == after and not new.platform.is_unknown


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
