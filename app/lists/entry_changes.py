"""Changes to the entries of a list: the rules for adding, annotating and removing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from uuid import UUID

from app.errors import DuplicatePlatform, FieldError, InvalidInput
from app.lists.draft import Entry, Given, Origin
from app.lists.options import merged
from app.lists.overrides import NOTHING_SAID, PlatformOverride, check_known
from app.lists.variants import describe_shared
from app.oci.digest import Digest
from app.oci.reference import Reference

# An index of this size stays below the 4 MiB that registries accept for a manifest.
MAX_ENTRIES = 1024


@dataclass(frozen=True, slots=True)
class Amended:
    """The result of adding; `replaced` has the digest that each added entry replaced, by the entry's id."""

    entries: tuple[Entry, ...]
    added: tuple[Entry, ...]
    replaced: Mapping[UUID, Digest]


def amend(entries: Sequence[Entry], incoming: Sequence[Entry], *, allow_duplicate_platforms: bool) -> Amended:
    """Add entries: one that is there is renewed and keeps its annotations, the same platform is replaced.

    Images replaced leave with their attestations. Raises DuplicatePlatform when the incoming ones collide
    among themselves: either could be meant.
    """
    distinct = _distinct(incoming, allow_duplicate_platforms=allow_duplicate_platforms)
    present = _find_present(entries, distinct)
    fresh = tuple(_renew(present.get(entry.id), entry) for entry in distinct)
    if not allow_duplicate_platforms:
        _refuse_collisions(fresh)
    places = _places(entries, fresh, by_platform=not allow_duplicate_platforms)
    fresh = _numbered(entries, fresh, places)
    replaced = {
        entry.id: places[entry.id][0].digest
        for entry in fresh
        if places[entry.id] and places[entry.id][0].digest != entry.digest
    }
    leaving = {old.id: old for olds in places.values() for old in olds}
    kept = _without_orphans([entry for entry in entries if entry.id not in leaving], leaving.values(), fresh)
    kept = _narrowed(kept, leaving.values(), said_again=_origins(fresh))
    if len(kept) + len(fresh) > MAX_ENTRIES:
        raise InvalidInput(
            f"A list can have at most {MAX_ENTRIES} entries. This change would make {len(kept) + len(fresh)}."
        )
    return Amended((*kept, *fresh), fresh, replaced)


def remove(entries: Sequence[Entry], *leaving: Entry) -> tuple[Entry, ...]:
    """The entries without some images, and without the attestations that were their own."""
    gone = {entry.id for entry in leaving}
    rest = [entry for entry in entries if entry.id not in gone]
    return tuple(_narrowed(_without_orphans(rest, leaving, rest), leaving))


@dataclass(frozen=True, slots=True)
class EntryChanges:
    """A merge patch of an entry; null for a whole member clears everything in it."""

    override: PlatformOverride = NOTHING_SAID
    annotations: Mapping[str, str | None] = field(default_factory=dict)
    forget_override: bool = False
    forget_annotations: bool = False


def annotate(
    entries: Sequence[Entry], target: Entry, changes: EntryChanges, *, allow_duplicate_platforms: bool
) -> tuple[Entry, ...]:
    """The entries with one annotated; an annotation of None is cleared.

    Raises UnsupportedPlatform when a platform was given and the effective one is unknown, DuplicatePlatform
    when another entry has it.
    """
    annotations = {} if changes.forget_annotations else target.annotations
    changed = replace(target, annotations=merged(annotations, changes.annotations))
    if changes.forget_override:
        changed = replace(changed, override=NOTHING_SAID)
    elif changes.override.members:
        override = changes.override.distinct(target.platform.os_features)
        changed = replace(changed, override=target.override.updated(override))
        check_known(changed.platform)
    if changed.platform.key != target.platform.key:
        _refuse_same_place(entries, changed)
        _refuse_taken(entries, changed, allow_duplicate_platforms=allow_duplicate_platforms)
    return tuple(changed if entry.id == target.id else entry for entry in entries)


def _distinct(incoming: Sequence[Entry], *, allow_duplicate_platforms: bool) -> list[Entry]:
    """The same image for the same platform is one entry, as the same source twice is for Docker."""
    places = {(entry.reference, entry.platform.key): entry for entry in incoming}
    if allow_duplicate_platforms:
        return list(places.values())
    found: dict[Hashable, list[Entry]] = {}
    for entry in places.values():
        same = found.setdefault((entry.reference, entry.choice), [])
        if same and not _are_listed_together(same[0], entry):
            same.clear()
        same.append(entry)
    return _without_duplicates([entry for same in found.values() for entry in same])


def _without_duplicates(incoming: Sequence[Entry]) -> list[Entry]:
    """Drop manifests that an earlier source already adds for the same place under another name.

    A caller who adds an image that one of the indexes already contains means one image. The caller's own
    settings for it take precedence.
    """
    first: dict[Hashable, Entry] = {}
    kept = []
    for entry in incoming:
        place = _find_place(entry)
        twin = first.setdefault((entry.digest, place), entry) if place is not None else entry
        is_twin = twin is not entry and not _are_listed_together(twin, entry)
        if not is_twin or entry.said or entry.override.members:
            kept.append(entry)
    return kept


def _find_present(entries: Sequence[Entry], incoming: Sequence[Entry]) -> dict[UUID, Entry]:
    """By the id of each incoming entry the one that it renews: of its reference, and for its place."""
    left: dict[Reference, list[Entry]] = {}
    for entry in entries:
        left.setdefault(entry.reference, []).append(entry)
    found: dict[UUID, Entry] = {}
    for is_same in (_is_same_source, _is_same_place, _is_named_alike):
        for entry in incoming:
            candidates = left.get(entry.reference, [])
            old = next((old for old in candidates if entry.id not in found and is_same(old, entry)), None)
            if old is not None:
                found[entry.id] = old
                candidates.remove(old)
    return found


def _is_same_source(old: Entry, new: Entry) -> bool:
    """Whether callers said the same, apart from later annotations."""
    if old.given is None or new.given is None or old.given.override != new.given.override:
        return False
    return (old.origin is None and new.origin is None) or old.resolved_platform == new.resolved_platform


def _is_same_place(old: Entry, new: Entry) -> bool:
    return old.choice == new.choice


def _is_named_alike(old: Entry, new: Entry) -> bool:
    """An entry of an earlier version does not know what its source said."""
    return (old.given is None or new.given is None) and not new.override.members


def _renew(old: Entry | None, entry: Entry) -> Entry:
    if old is None:
        return entry
    given = entry.given
    if given is not None and old.given is not None:
        given = replace(given, replaced=old.given.replaced)
    return replace(
        entry,
        id=old.id,
        override=old.override.updated(entry.override),
        annotations={**old.said, **entry.annotations},
        given=given,
    )


def _places(
    entries: Sequence[Entry], fresh: Sequence[Entry], *, by_platform: bool
) -> dict[UUID, list[Entry]]:
    """By the id of each fresh entry those that it is added in place of, the likest first."""
    known = {entry.id: entry for entry in entries}
    renewed = {entry.id for entry in fresh}
    rest: dict[Hashable, list[Entry]] = {}
    for old in entries:
        if by_platform and old.id not in renewed and (place := _find_place(old)) is not None:
            rest.setdefault(place, []).append(old)
    places = {}
    for entry in fresh:
        others = rest.get(_find_place(entry), [])
        others = sorted(others, key=lambda old: old.platform != entry.platform)
        places[entry.id] = [*([known[entry.id]] if entry.id in known else []), *others]
    return places


def _numbered(
    entries: Sequence[Entry], fresh: Sequence[Entry], places: Mapping[UUID, Sequence[Entry]]
) -> tuple[Entry, ...]:
    """Each source stands where the first image stood whose place it takes; the others are a new call."""
    calls = [old.given.call for old in entries if old.given is not None and old.given.call is not None]
    call = max(calls, default=-1) + 1
    sizes = Counter(entry.given.source for entry in fresh if entry.given is not None)
    anchors: dict[int, Given] = {}
    for entry in fresh:
        for old in places[entry.id]:
            if entry.given is not None and old.given is not None:
                anchors.setdefault(entry.given.source, old.given)
    return tuple(
        replace(entry, given=_number(entry, call, anchors, sizes, places[entry.id])) for entry in fresh
    )


def _number(
    entry: Entry,
    call: int,
    anchors: Mapping[int, Given],
    sizes: Mapping[int, int],
    places: Sequence[Entry],
) -> Given | None:
    given = entry.given
    if given is None or given.call is not None:
        return given
    other = next((old for old in places if old.id != entry.id and old.named != entry.named), None)
    if other is not None and other.digest != entry.digest:
        given = replace(given, replaced=other.reference.at(other.digest))
    anchor = anchors.get(given.source)
    if anchor is None:
        return replace(given, call=call)
    member = anchor.member if sizes[given.source] == 1 else given.member
    return replace(given, call=anchor.call, source=anchor.source, member=member)


def _find_place(entry: Entry) -> Hashable:
    """The key of a place that only one entry may take; None if any number of entries may share it.

    Several attestations share a platform, and artifacts need none. Each of them may occur only once, under
    any name.
    """
    if _is_unique(entry):
        return entry.choice
    if entry.attests is None and entry.kind is None:
        return None
    return entry.digest, entry.attests, entry.kind, entry.platform.key


def _is_unique(entry: Entry) -> bool:
    """Whether no other entry may have the platform: entries without one, and attestations, share it."""
    platform = entry.platform
    return bool(platform.os and platform.architecture) and platform.os != "unknown"


def _refuse_collisions(fresh: Sequence[Entry]) -> None:
    first: dict[Hashable, Entry] = {}
    for entry in filter(_is_unique, fresh):
        earlier = first.setdefault(entry.choice, entry)
        if earlier is not entry and not _are_listed_together(earlier, entry):
            raise DuplicatePlatform(
                f"{earlier.reference} and {entry.reference} are "
                f"{describe_shared(earlier.platform, entry.platform)}. Omit one, override its platform, or "
                "set allow_duplicate_platforms.",
                platform=entry.platform.full_name,
                errors=[FieldError("/sources", str(entry.reference), {"reference": str(entry.reference)})],
            )


def _are_listed_together(one: Entry, other: Entry) -> bool:
    """An index that itself lists arm64 and arm64/v8, or one platform twice, is taken as it is."""
    return one.origin is not None and one.origin.whole in _origins([other])


def _refuse_taken(entries: Sequence[Entry], changed: Entry, *, allow_duplicate_platforms: bool) -> None:
    for other in entries:
        if allow_duplicate_platforms or other.id == changed.id or not _is_unique(changed):
            continue
        if other.choice != changed.choice:
            continue
        raise DuplicatePlatform(
            f"{other.reference} already has the platform {other.platform.full_name}. Annotate or remove that "
            "entry, or set allow_duplicate_platforms.",
            platform=changed.platform.full_name,
            errors=[FieldError("/platform", "Another entry has this platform.")],
        )


def _refuse_same_place(entries: Sequence[Entry], changed: Entry) -> None:
    """One image is listed once for each platform, even in a list that allows duplicates."""
    for other in entries:
        is_same = other.reference == changed.reference and other.platform.key == changed.platform.key
        if is_same and other.id != changed.id:
            raise DuplicatePlatform(
                f"The list already has {other.reference} for {changed.platform.full_name}. Remove one of "
                "the entries.",
                platform=changed.platform.full_name,
                errors=[FieldError("/platform", "Another entry has this image and this platform.")],
            )


def _without_orphans(
    rest: Sequence[Entry], leaving: Iterable[Entry], staying: Iterable[Entry]
) -> list[Entry]:
    present = {str(entry.digest) for entry in (*rest, *staying)}
    gone = {str(entry.digest) for entry in leaving} - present
    return [entry for entry in rest if entry.attests not in gone]


def _narrowed(
    rest: Sequence[Entry], leaving: Iterable[Entry], *, said_again: AbstractSet[Origin] = frozenset()
) -> list[Entry]:
    """Mark the remaining entries of an index as narrowed when some of its entries have left."""
    parted = _origins(leaving) - said_again
    return [
        replace(entry, origin=replace(entry.origin, narrowed=True))
        if entry.origin is not None and entry.origin.whole in parted
        else entry
        for entry in rest
    ]


def _origins(entries: Iterable[Entry]) -> set[Origin]:
    return {entry.origin.whole for entry in entries if entry.origin is not None}
