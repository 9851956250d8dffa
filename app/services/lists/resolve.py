"""Resolves sources into entries: manifests and configs are fetched, verified and parsed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from app.errors import (
    BrokerError,
    FieldError,
    PlatformNotInSource,
    RegistryUnavailable,
    SourcesFailed,
    SourceUnsupported,
    SourceUnusable,
)
from app.lists.draft import Entry, ImageFacts, Origin
from app.lists.origins.listing import (
    IndexFacts,
    Listing,
    facts_of_index,
    keep_of_descriptor,
    lost_of_descriptor,
    lost_of_indexes,
)
from app.lists.overrides import PlatformOverride
from app.lists.source import Source
from app.lists.variants import select
from app.oci import annotations as keys
from app.oci.config import ImageConfig
from app.oci.descriptor import Descriptor
from app.oci.manifest import ImageManifest, Index, Manifest
from app.oci.media_types import is_image, is_index
from app.oci.platform import Platform
from app.oci.reference import Reference
from app.services.source_reader import Reader

# Some tools merge indexes into an index of indexes. Deeper nesting is a mistake.
MAX_DEPTH = 2

UNKNOWN = Platform(os="unknown", architecture="unknown")


@dataclass(frozen=True, slots=True)
class Resolved:
    """An entry, and the manifests that must be kept for it: its own, and the indexes that list it."""

    entry: Entry
    manifests: tuple[Manifest, ...]


@dataclass(frozen=True, slots=True)
class _Contents:
    """The platform, facts and kind of an image or artifact; the platform may be unknown."""

    platform: Platform | None = None
    facts: ImageFacts = ImageFacts()  # noqa: RUF009 - frozen
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """An index to take members from, and the indexes around it, outermost first."""

    path: tuple[Index, ...]
    facts: IndexFacts
    lost: tuple[str, ...]

    @classmethod
    def of(cls, *path: Index) -> _Place:
        return cls(path, facts_of_index(path[0]), lost_of_indexes(path))

    @property
    def index(self) -> Index:
        return self.path[-1]

    def listing(self, described: Descriptor, contents: _Contents) -> Listing:
        first = self.path[0].manifest
        return Listing(
            index=first.digest,
            index_type=first.media_type,
            count=0,
            platform=_listed_platform(described),
            config_platform=contents.platform,
            annotations=dict(described.annotations),
            nested=tuple(each.manifest.descriptor for each in self.path[1:]),
            kept=keep_of_descriptor(described),
            facts=self.facts,
            lost=lost_of_descriptor(described),
            index_lost=self.lost,
        )


class Resolver:
    """Resolves the sources of one operation concurrently."""

    def __init__(self, reader: Reader, added_by: str) -> None:
        self._reader = reader
        self._added_by = added_by

    async def resolve(self, sources: Sequence[Source], on_done: Callable[[], None]) -> list[list[Resolved]]:
        """All entries of each source, or one error with the reason for each source that failed.

        `on_done` is called as each source has been resolved.
        """

        async def resolve(source: Source) -> list[Resolved]:
            found = await self._resolve(source)
            on_done()
            return found

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_catch_error(resolve(source))) for source in sources]
        outcomes = [task.result() for task in tasks]
        failures = {
            position: outcome for position, outcome in enumerate(outcomes) if isinstance(outcome, BrokerError)
        }
        if failures:
            raise _combined(sources, failures)
        return [outcome for outcome in outcomes if not isinstance(outcome, BrokerError)]

    async def _resolve(self, source: Source) -> list[Resolved]:
        found = await self._reader.manifest(source.reference)
        if isinstance(found, ImageManifest):
            resolved = [self._entry(source.reference, found, await self._contents(source.reference, found))]
            has = [each.entry.resolved_platform for each in resolved]
            if source.platforms and not select(has, source.platforms):
                resolved = []
        else:
            has = [platform for each in found.manifests if (platform := _listed_platform(each)) is not None]
            resolved = _counted(source, found, await self._flatten(source, _Place.of(found)))
        if not resolved:
            raise _nothing_wanted(source, has, is_single=isinstance(found, ImageManifest))
        return [_apply_overrides(source, each) for each in resolved]

    async def _contents(self, reference: Reference, image: ImageManifest) -> _Contents:
        """Read the contents from the config; the config of an artifact may have no platform."""
        if not image.has_platform:
            return _Contents(kind=image.kind)
        config = await self._reader.image_config(reference.repository, image.config)
        return _Contents(config.platform, _facts(config), image.kind)

    async def _flatten(self, source: Source, place: _Place) -> list[Resolved]:
        """The selected images of the index, with the attestations that describe them."""
        index = place.index
        wanted = _wanted(source, index)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_catch_error(self._named(source, each, place))) for each in wanted]
        found: list[Resolved] = []
        for task in tasks:
            outcome = task.result()
            if isinstance(outcome, BrokerError):
                raise outcome
            found.extend(outcome)
        return _without_others(source, found)

    async def _named(self, source: Source, described: Descriptor, place: _Place) -> list[Resolved]:
        """The entries of a member; an error names it."""
        try:
            return await self._member(source, described, place)
        except SourceUnusable as error:
            if str(described.digest) in error.detail:
                raise
            detail = (
                f"{source.reference.at(described.digest)} in {source.reference} can't be used. {error.detail}"
            )
            raise error.recast(type(error), detail) from error

    async def _member(self, source: Source, described: Descriptor, place: _Place) -> list[Resolved]:
        reference = source.reference.at(described.digest)
        member = await self._reader.manifest(reference, described.media_type)
        if isinstance(member, Index):
            if len(place.path) >= MAX_DEPTH:
                raise SourceUnsupported(
                    f"{source.reference} has indexes nested more than {MAX_DEPTH} deep.",
                    reference=str(source.reference),
                )
            return await self._flatten(source, _Place.of(*place.path, member))
        if member.is_attestation or _is_attestation(described):
            contents, default = _Contents(), UNKNOWN
        else:
            contents, default = await self._contents(reference, member), Platform()
        resolved = self._entry(reference, member, contents, described, default)
        entry = replace(
            resolved.entry,
            origin=Origin(source.reference, source.platforms),
            listing=place.listing(described, contents),
        )
        return [Resolved(entry, (*resolved.manifests, *(index.manifest for index in place.path)))]

    def _entry(
        self,
        reference: Reference,
        image: ImageManifest,
        contents: _Contents,
        described: Descriptor | None = None,
        default: Platform = Platform(),  # noqa: B008 - frozen
    ) -> Resolved:
        manifest = image.manifest
        listed = _listed_platform(described) if described is not None else None
        entry = Entry(
            id=uuid4(),
            reference=reference,
            media_type=manifest.media_type,
            digest=manifest.digest,
            size=manifest.size,
            # Readers of the source index select its members by this platform.
            resolved_platform=listed or contents.platform or default,
            override=PlatformOverride(),
            annotations=dict(described.annotations) if described else {},
            image=contents.facts,
            added_by=self._added_by,
            added_at=datetime.now(UTC),
            artifact_type=(described.artifact_type if described else None) or contents.kind,
        )
        return Resolved(entry, (manifest,))


def _counted(source: Source, index: Index, resolved: Sequence[Resolved]) -> list[Resolved]:
    """The entries of one index, each with the number that the whole index makes.

    Manifests that are listed twice count once. A selection from an index of indexes is never the whole.
    """
    count = len({(each.entry.reference, each.entry.resolved_platform) for each in resolved})
    if source.platforms and any(is_index(each.media_type) for each in index.manifests):
        count += 1
    elif source.platforms:
        count = len({(each.digest, each.platform) for each in index.manifests})
    return [replace(each, entry=_with_count(each.entry, count)) for each in resolved]


def _with_count(entry: Entry, count: int) -> Entry:
    return entry if entry.listing is None else replace(entry, listing=replace(entry.listing, count=count))


def _apply_overrides(source: Source, resolved: Resolved) -> Resolved:
    """The entry with the caller's overrides; an attestation stays as it is."""
    entry = resolved.entry
    if entry.attests is not None:
        return resolved
    entry = replace(
        entry,
        override=entry.override.updated(source.override),
        annotations={**entry.annotations, **source.annotations},
    )
    return replace(resolved, entry=entry)


def _is_attestation(described: Descriptor) -> bool:
    return described.annotations.get(keys.REFERENCE_TYPE) == keys.ATTESTATION_MANIFEST


def _listed_platform(described: Descriptor) -> Platform | None:
    """The platform in a descriptor; None for an empty one, which some tools write in place of no platform."""
    platform = described.platform
    return platform if platform is not None and (platform.os or platform.architecture) else None


def _is_unnamed(described: Descriptor) -> bool:
    """Whether only the image's config can give its platform."""
    is_plain = is_image(described.media_type) and described.artifact_type is None
    return is_plain and _listed_platform(described) is None


def _wanted(source: Source, index: Index) -> list[Descriptor]:
    """The members that the source selects or may select, with their attestations."""
    if not source.platforms:
        return list(index.manifests)
    images = [each for each in index.manifests if keys.REFERENCE_DIGEST not in each.annotations]
    chosen = select([each.platform or Platform() for each in images], source.platforms)

    def is_wanted(member: Descriptor) -> bool:
        # A nested index is filtered when it is flattened.
        is_open = is_index(member.media_type) or _is_unnamed(member)
        return is_open or (member.platform or Platform()) in chosen

    digests = {str(each.digest) for each in images if is_wanted(each)}

    def is_taken(member: Descriptor) -> bool:
        about = member.annotations.get(keys.REFERENCE_DIGEST)
        return is_wanted(member) if about is None else about in digests

    return [each for each in index.manifests if is_taken(each)]


def _without_others(source: Source, found: Sequence[Resolved]) -> list[Resolved]:
    """Drop images whose platform only their config gives, unless the source selects that platform."""

    def is_unnamed(entry: Entry) -> bool:
        return entry.listing is not None and entry.listing.platform is None and entry.attests is None

    unnamed = [each.entry for each in found if source.platforms and is_unnamed(each.entry)]
    chosen = select([entry.resolved_platform for entry in unnamed], source.platforms)
    left = [entry for entry in unnamed if entry.kind or entry.resolved_platform not in chosen]
    gone, digests = {entry.id for entry in left}, {str(entry.digest) for entry in left}
    return [each for each in found if each.entry.id not in gone and each.entry.attests not in digests]


def _nothing_wanted(source: Source, has: Sequence[Platform], *, is_single: bool) -> SourceUnsupported:
    reference = str(source.reference)
    if not source.platforms:
        return SourceUnsupported(f"{reference} is an empty index.", reference=reference)
    chosen = ", ".join(platform.full_name for platform in source.platforms)
    # If the selection has versions of a system, the answer must show the versions too.
    in_full = any(platform.full_name != str(platform) for platform in source.platforms)
    named = [each for each in has if not each.is_unknown and (each.os or each.architecture)]
    names = [each.full_name if in_full else str(each) for each in named]
    there = list(dict.fromkeys(names))
    detail = f"{reference} has no image for {chosen}."
    if there:
        detail += f" It has images for {', '.join(there)}."
    elif is_single:
        detail += " Its config names no platform. Give the source a platform instead of platforms."
    return PlatformNotInSource(
        detail, errors=[FieldError("/platforms", detail)], reference=reference, platforms=there
    )


def _facts(config: ImageConfig) -> ImageFacts:
    labels = config.labels
    return ImageFacts(
        config.created, labels.get(keys.REVISION), labels.get(keys.SOURCE), labels.get(keys.VERSION)
    )


async def _catch_error(work: Awaitable[list[Resolved]]) -> list[Resolved] | BrokerError:
    # A task group would wrap the error and cancel the other tasks.
    try:
        return await work
    except BrokerError as error:
        return error


def _combined(sources: Sequence[Source], failures: dict[int, BrokerError]) -> BrokerError:
    """One error for all failed sources, of their common class if they have one; each has its own pointer."""
    errors = [
        FieldError(
            f"/sources/{position}{error.errors[0].pointer if error.errors else ''}",
            error.detail,
            {"reference": str(sources[position].reference), "code": error.code, **error.members},
        )
        for position, error in failures.items()
    ]
    if len(failures) == 1:
        (failure,) = failures.values()
        return failure.with_errors(errors)
    # Retryable only if every failure is.
    final = [error for error in failures.values() if not error.retryable]
    deciding = final or list(failures.values())
    waits = [error.retry_after for error in failures.values() if error.retry_after is not None]
    mixed = SourcesFailed if final else RegistryUnavailable
    combined = mixed(
        f"{len(failures)} of {len(sources)} sources can't be used. The first one: {deciding[0].detail}",
        errors=errors,
        retry_after=max(waits, default=None),
    )
    kinds = {error.shown_kind for error in deciding}
    return combined.recast(kinds.pop()) if len(kinds) == 1 else combined
