"""What becomes of a list whose sources are resolved again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from app.lists.draft import Draft, Entry, Origin, amend
from app.lists.source import Source
from app.oci.digest import Digest
from app.oci.platform import Platform
from app.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class Refreshed:
    """One entry whose source was resolved again; without `before` it is new, without `after` it is gone."""

    entry_id: UUID
    reference: Reference
    platform: Platform
    before: Digest | None
    after: Digest | None

    def document(self) -> dict[str, object]:
        return {
            "entry_id": str(self.entry_id),
            "reference": str(self.reference),
            "platform": str(self.platform),
            "old_digest": str(self.before) if self.before else None,
            "new_digest": str(self.after) if self.after else None,
        }


def plan_refresh(draft: Draft) -> tuple[Source, ...]:
    """What can stand for something else by now: the images and indexes that were named by a tag alone."""
    sources = {}
    for entry in draft.in_order:
        origin = entry.origin or Origin(entry.reference)
        if origin.reference.digest is None:
            sources[origin] = Source(origin.reference, platforms=origin.platforms)
    return tuple(sources.values())


def refresh(
    draft: Draft, sources: Sequence[Source], resolved: Sequence[Sequence[Entry]]
) -> tuple[Draft, tuple[Refreshed, ...]]:
    """The list with each source's entries in place of those that it had, and what has become of each.

    What callers said of an entry stays, if there is still an image for that platform. A source that has left
    the list meanwhile stays away.
    """
    told: list[Refreshed] = []
    for source, found in zip(sources, resolved, strict=True):
        before = [entry for entry in draft.entries if _is_of(entry, source)]
        if not before:
            continue
        fresh = _continued(found, before)
        rest = [entry for entry in draft.entries if entry not in before]
        allowed = draft.options.allow_duplicate_platforms
        amended = amend(rest, fresh, allow_duplicate_platforms=allowed)
        draft = replace(draft, entries=amended.entries)
        told += _compared(source, before, fresh)
    return draft, tuple(told)


def _is_of(entry: Entry, source: Source) -> bool:
    return (entry.origin or Origin(entry.reference)) == Origin(source.reference, source.platforms)


def _continued(found: Sequence[Entry], before: Sequence[Entry]) -> list[Entry]:
    """An image of the same reference is the same entry, of the rest one for the same platform; each once."""
    left = {entry.id: entry for entry in before}
    fresh = list(found)
    for is_same in (_same_reference, _same_platform):
        for place, entry in enumerate(fresh):
            old = next((each for each in left.values() if is_same(each, entry)), None)
            if old is not None and entry.id == found[place].id:
                del left[old.id]
                annotations = {**old.annotations, **entry.annotations}
                fresh[place] = replace(entry, id=old.id, override=old.override, annotations=annotations)
    return fresh


def _same_reference(old: Entry, new: Entry) -> bool:
    return old.reference == new.reference


def _same_platform(old: Entry, new: Entry) -> bool:
    return old.resolved_platform == new.resolved_platform and not new.platform.is_unknown


def _compared(source: Source, before: Sequence[Entry], after: Sequence[Entry]) -> list[Refreshed]:
    old, new = ({entry.id: entry for entry in entries} for entries in (before, after))
    return [
        Refreshed(
            entry_id=identity,
            reference=source.reference,
            platform=(new.get(identity) or old[identity]).platform,
            before=old[identity].digest if identity in old else None,
            after=new[identity].digest if identity in new else None,
        )
        for identity in dict.fromkeys([*old, *new])
    ]
