"""The draft of a list: its entries, and the rules for adding, annotating and removing them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.errors import DuplicatePlatform, FieldError, InvalidInput
from app.lists.options import Options, merged
from app.lists.origins.listing import Listing
from app.lists.overrides import NOTHING_SAID, PlatformOverride, check_known
from app.lists.variants import choice
from app.oci.annotations import REFERENCE_DIGEST
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.index import sort_key
from app.oci.manifest import Manifest
from app.oci.platform import Platform
from app.oci.reference import Reference

# An index of this size stays below the 4 MiB that registries accept for a manifest.
MAX_ENTRIES = 1024


class ListState(StrEnum):
    """The state of a list.

    `pushed`: the last push has put the current revision; a later change reopens the list. `failed`: the list
    releases every waiting caller with its problem; a later change reopens it.
    """

    OPEN = "open"
    PUSHED = "pushed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The origin of an image, from the labels in its config; each may be unknown."""

    created: str | None = None
    revision: str | None = None
    source: str | None = None
    version: str | None = None

    @property
    def known(self) -> dict[str, str]:
        """The facts that the config has."""
        facts = {
            "created": self.created,
            "revision": self.revision,
            "source": self.source,
            "version": self.version,
        }
        return {name: value for name, value in facts.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Origin:
    """The index that an entry was taken from: its reference as the caller gave it, and the selection.

    `narrowed` once a caller has removed an image of it, or replaced one.
    """

    reference: Reference
    platforms: tuple[Platform, ...] = ()
    narrowed: bool = False

    @property
    def whole(self) -> Origin:
        """The origin as the caller named it."""
        return replace(self, narrowed=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a list. `reference` is canonical and unique in the list, as in Docker's manifest store."""

    id: UUID
    reference: Reference
    media_type: str
    digest: Digest
    size: int
    resolved_platform: Platform
    override: PlatformOverride
    annotations: Mapping[str, str]
    image: ImageFacts
    added_by: str
    added_at: datetime
    artifact_type: str | None = None
    # None for an image that the caller named directly.
    origin: Origin | None = None
    listing: Listing | None = None

    @property
    def platform(self) -> Platform:
        return self.override.over(self.resolved_platform)

    @property
    def choice(self) -> Hashable:
        """The same for entries of one kind between which no reader can tell."""
        return choice(self.platform), self.artifact_type

    @property
    def config_platform(self) -> Platform | None:
        """The platform in the config of the image, if that is known."""
        return self.resolved_platform if self.listing is None else self.listing.config_platform

    @property
    def said(self) -> dict[str, str]:
        """The annotations that callers have set, without those that the source has."""
        listed = self.listing.annotations if self.listing is not None else {}
        return {key: text for key, text in self.annotations.items() if listed.get(key) != text}

    @property
    def attests(self) -> str | None:
        """For an attestation, the digest of the image that it describes (BuildKit's convention)."""
        if (self.platform.os, self.platform.architecture) != ("unknown", "unknown"):
            return None
        return self.annotations.get(REFERENCE_DIGEST)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(
            self.media_type,
            self.digest,
            self.size,
            platform=None if self.artifact_type and self.platform == Platform() else self.platform,
            annotations=self.annotations,
            artifact_type=self.artifact_type,
        )


@dataclass(frozen=True, slots=True)
class Draft:
    """A list at one revision; a failed list has a `problem`."""

    id: UUID
    reference: Reference
    session: str
    revision: int
    state: ListState
    options: Options
    entries: tuple[Entry, ...]
    created_by: str
    created_at: datetime
    updated_at: datetime
    push_operation_id: UUID | None = None
    last_push_id: UUID | None = None
    problem: Mapping[str, Any] | None = None
    # The source whose bytes the list keeps, as it was read with the list.
    copied: Manifest | None = field(default=None, repr=False)

    @property
    def in_order(self) -> tuple[Entry, ...]:
        """The entries in the order of the index, which is Docker's."""
        return tuple(sorted(self.entries, key=lambda entry: sort_key(str(entry.reference))))


@dataclass(frozen=True, slots=True)
class Amended:
    """The result of adding; `replaced` has the digest that each added entry replaced, by the entry's id."""

    entries: tuple[Entry, ...]
    added: tuple[Entry, ...]
    replaced: Mapping[UUID, Digest]


def amend(entries: Sequence[Entry], incoming: Sequence[Entry], *, allow_duplicate_platforms: bool) -> Amended:
    """Add entries: the same reference is renewed and keeps its annotations, the same platform is replaced.

    Images replaced leave with their attestations. Raises DuplicatePlatform when the incoming ones collide
    among themselves: either could be meant.
    """
    present = {entry.reference: entry for entry in entries}
    # The same source named twice is one entry, as for Docker.
    distinct = {entry.reference: entry for entry in incoming}.values()
    fresh = tuple(_renew(present.get(entry.reference), entry) for entry in distinct)
    if not allow_duplicate_platforms:
        _refuse_collisions(fresh)
    replaced: dict[UUID, Digest] = {}
    leaving: dict[UUID, Entry] = {}
    for entry, places in _places(entries, fresh, by_platform=not allow_duplicate_platforms):
        leaving |= {old.id: old for old in places}
        if places and places[0].digest != entry.digest:
            replaced[entry.id] = places[0].digest
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
        _refuse_taken(entries, changed, allow_duplicate_platforms=allow_duplicate_platforms)
    return tuple(changed if entry.id == target.id else entry for entry in entries)


def _renew(old: Entry | None, entry: Entry) -> Entry:
    if old is None:
        return entry
    return replace(
        entry,
        id=old.id,
        override=old.override.updated(entry.override),
        annotations={**old.said, **entry.annotations},
    )


def _places(
    entries: Sequence[Entry], fresh: Sequence[Entry], *, by_platform: bool
) -> Iterator[tuple[Entry, list[Entry]]]:
    """Each with those that it is added in place of, the likest first."""
    renewed = {entry.reference for entry in fresh}
    rest: dict[Hashable, list[Entry]] = {}
    for old in entries:
        if by_platform and _is_unique(old) and old.reference not in renewed:
            rest.setdefault(old.choice, []).append(old)
    same = {entry.reference: entry for entry in entries}
    for entry in fresh:
        others = rest.get(entry.choice, []) if _is_unique(entry) else []
        others = sorted(others, key=lambda old: old.platform != entry.platform)
        yield entry, [*([same[entry.reference]] if entry.reference in same else []), *others]


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
                f"{earlier.reference} and {entry.reference} are both {entry.platform}. Omit one, override "
                "its platform, or set allow_duplicate_platforms.",
                platform=str(entry.platform),
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
            f"{other.reference} already has the platform {other.platform}. Annotate or remove that entry, "
            "or set allow_duplicate_platforms.",
            platform=str(changed.platform),
            errors=[FieldError("/platform", "Another entry has this platform.")],
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
