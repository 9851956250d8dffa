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
)
from app.lists.draft import Entry, ImageFacts, Origin
from app.lists.overrides import PlatformOverride
from app.lists.source import Source
from app.lists.variants import satisfies
from app.oci import annotations as keys
from app.oci.config import ImageConfig
from app.oci.descriptor import Descriptor
from app.oci.manifest import ImageManifest, Index, Manifest
from app.oci.media_types import is_index
from app.oci.platform import Platform
from app.oci.reference import Reference
from app.services.source_reader import Reader

# Some tools merge indexes into an index of indexes. Deeper nesting is a mistake.
MAX_DEPTH = 2

UNKNOWN = Platform(os="unknown", architecture="unknown")


@dataclass(frozen=True, slots=True)
class Resolved:
    """An entry, and the manifest that must be kept for it."""

    entry: Entry
    manifest: Manifest


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
            resolved = [await self._image(source.reference, found)]
            has = [each.entry.resolved_platform for each in resolved]
            resolved = [each for each in resolved if _is_chosen(source, each.entry.resolved_platform)]
        else:
            has = [each.platform for each in found.manifests if each.platform]
            resolved = await self._flatten(source, found, depth=1)
        if not resolved:
            raise _nothing_wanted(source, has)
        return [_apply_overrides(source, each) for each in resolved]

    async def _image(
        self, reference: Reference, image: ImageManifest, described: Descriptor | None = None
    ) -> Resolved:
        if image.is_artifact:
            kind = image.artifact_type or image.config.media_type
            raise SourceUnsupported(
                f"{reference} is an OCI artifact ({kind}), not an image.",
                reference=str(reference),
                media_type=kind,
            )
        config = await self._reader.image_config(reference.repository, image.config)
        return self._entry(reference, image, config.platform, _facts(config), described)

    async def _flatten(self, source: Source, index: Index, *, depth: int) -> list[Resolved]:
        """The selected images of the index, with the attestations that describe them."""
        wanted = [each for each in index.manifests if _is_wanted(source, each, index)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_catch_error(self._member(source, each, depth))) for each in wanted]
        found: list[Resolved] = []
        for task in tasks:
            outcome = task.result()
            if isinstance(outcome, BrokerError):
                raise outcome
            found.extend(outcome)
        return found

    async def _member(self, source: Source, described: Descriptor, depth: int) -> list[Resolved]:
        reference = source.reference.at(described.digest)
        member = await self._reader.manifest(reference)
        if isinstance(member, Index):
            if depth >= MAX_DEPTH:
                raise SourceUnsupported(
                    f"{source.reference} has indexes nested more than {MAX_DEPTH} deep.",
                    reference=str(source.reference),
                )
            return await self._flatten(source, member, depth=depth + 1)
        if member.is_attestation or _is_attestation(described):
            resolved = self._entry(reference, member, UNKNOWN, ImageFacts(), described)
        else:
            resolved = await self._image(reference, member, described)
        origin = Origin(source.reference, source.platforms)
        return [replace(resolved, entry=replace(resolved.entry, origin=origin))]

    def _entry(
        self,
        reference: Reference,
        image: ImageManifest,
        platform: Platform,
        facts: ImageFacts,
        described: Descriptor | None,
    ) -> Resolved:
        manifest = image.manifest
        entry = Entry(
            id=uuid4(),
            reference=reference,
            media_type=manifest.media_type,
            digest=manifest.digest,
            size=manifest.size,
            # Readers of the source index select its members by this platform.
            resolved_platform=described.platform if described and described.platform else platform,
            override=PlatformOverride(),
            annotations=dict(described.annotations) if described else {},
            image=facts,
            added_by=self._added_by,
            added_at=datetime.now(UTC),
            artifact_type=described.artifact_type if described else None,
        )
        return Resolved(entry, manifest)


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


def _is_wanted(source: Source, described: Descriptor, index: Index) -> bool:
    if not source.platforms:
        return True
    attested = described.annotations.get(keys.REFERENCE_DIGEST)
    if attested is not None:
        return any(
            str(other.digest) == attested and _is_wanted(source, other, index)
            for other in index.manifests
            if keys.REFERENCE_DIGEST not in other.annotations
        )
    # A nested index is filtered when it is flattened.
    return is_index(described.media_type) or _is_chosen(source, described.platform or Platform())


def _is_chosen(source: Source, platform: Platform) -> bool:
    return not source.platforms or any(satisfies(platform, each) for each in source.platforms)


def _nothing_wanted(source: Source, has: Sequence[Platform]) -> SourceUnsupported:
    reference = str(source.reference)
    if not source.platforms:
        return SourceUnsupported(f"{reference} is an empty index.", reference=reference)
    chosen = ", ".join(str(platform) for platform in source.platforms)
    there = list(dict.fromkeys(str(platform) for platform in has if not platform.is_unknown))
    detail = f"{reference} has no image for {chosen}."
    if there:
        detail += f" It has images for {', '.join(there)}."
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
    kinds = {type(error) for error in deciding}
    return combined.recast(kinds.pop()) if len(kinds) == 1 else combined
