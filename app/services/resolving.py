"""Sources into entries: what a reference stands for now, fetched, verified and understood."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from app.errors import BrokerError, FieldError, SourcesFailed, SourceUnsupported
from app.lists.draft import Entry, ImageFacts
from app.lists.overrides import whole
from app.lists.readiness import satisfies
from app.lists.source import Source
from app.oci import annotations as keys
from app.oci.config import ImageConfig, parse_config
from app.oci.descriptor import Descriptor
from app.oci.manifest import ImageManifest, Index, Manifest
from app.oci.platform import Platform
from app.oci.reference import Reference
from app.registry.client import Access, RegistryClient

# An index of indexes is what some tools make of a merge; deeper ones nobody means.
MAX_DEPTH = 2

# Ordinary configs are smaller, and take less time to parse than a thread takes to be asked.
PARSED_AT_ONCE = 16 * 1024

UNKNOWN = Platform(os="unknown", architecture="unknown")


@dataclass(frozen=True, slots=True)
class Resolved:
    """An entry, and the manifest that must be kept for it."""

    entry: Entry
    manifest: Manifest


class Resolver:
    """Resolves the sources of one operation, side by side."""

    def __init__(self, client: RegistryClient, access: Access, added_by: str) -> None:
        self._client = client
        self._access = access
        self._added_by = added_by

    async def resolve(self, sources: Sequence[Source], on_done: Callable[[], None]) -> list[Resolved]:
        """All entries of all sources, or one error that names each source that failed and why.

        `on_done` is called as each source has been resolved.
        """

        async def resolve(source: Source) -> list[Resolved]:
            found = await self._resolve(source)
            on_done()
            return found

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_caught(resolve(source))) for source in sources]
        outcomes = [task.result() for task in tasks]
        failures = {
            position: outcome for position, outcome in enumerate(outcomes) if isinstance(outcome, BrokerError)
        }
        if failures:
            raise _combined(sources, failures)
        return [
            resolved for outcome in outcomes if not isinstance(outcome, BrokerError) for resolved in outcome
        ]

    async def _resolve(self, source: Source) -> list[Resolved]:
        fetched = await self._client.fetch_manifest(source.reference, self._access)
        found = fetched.manifest
        if isinstance(found, ImageManifest):
            resolved = [await self._image(source.reference, found)]
        else:
            resolved = await self._flatten(source, found, depth=1)
        return [_said(source, each) for each in resolved]

    async def _image(
        self, reference: Reference, image: ImageManifest, described: Descriptor | None = None
    ) -> Resolved:
        if image.is_artifact:
            kind = image.artifact_type or image.config.media_type
            raise SourceUnsupported(
                f"{reference} is an OCI artifact ({kind}), not an image",
                reference=str(reference),
                media_type=kind,
            )
        raw = await self._client.fetch_config(reference.repository, image.config, self._access)
        config = await _parse(raw)
        return self._entry(reference, image, config.platform, _facts(config), described)

    async def _flatten(self, source: Source, index: Index, *, depth: int) -> list[Resolved]:
        """Every image of the index that is wanted, with the attestations that speak of them."""
        wanted = [each for each in index.manifests if _is_wanted(source, each, index)]
        if not wanted:
            chosen = ", ".join(str(platform) for platform in source.platforms)
            raise SourceUnsupported(
                f"{source.reference} has no image for {chosen}"
                if chosen
                else f"{source.reference} is an empty index",
                reference=str(source.reference),
            )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_caught(self._member(source, each, depth))) for each in wanted]
        found: list[Resolved] = []
        for task in tasks:
            outcome = task.result()
            if isinstance(outcome, BrokerError):
                raise outcome
            found.extend(outcome)
        return found

    async def _member(self, source: Source, described: Descriptor, depth: int) -> list[Resolved]:
        reference = source.reference.at(described.digest)
        fetched = await self._client.fetch_manifest(reference, self._access)
        member = fetched.manifest
        if isinstance(member, Index):
            if depth >= MAX_DEPTH:
                raise SourceUnsupported(
                    f"{source.reference} holds indexes within indexes, more than {MAX_DEPTH} deep",
                    reference=str(source.reference),
                )
            return await self._flatten(source, member, depth=depth + 1)
        if member.is_attestation or _is_attestation(described):
            return [self._entry(reference, member, UNKNOWN, ImageFacts(), described)]
        return [await self._image(reference, member, described)]

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
            resolved_platform=platform,
            override=Source(reference).override,
            annotations=dict(described.annotations) if described else {},
            image=facts,
            added_by=self._added_by,
            added_at=datetime.now(UTC),
            artifact_type=described.artifact_type if described else None,
        )
        if described is not None and described.platform is not None:
            # What the index says of its member is what its readers have chosen by until now.
            entry = replace(entry, override=whole(described.platform))
        return Resolved(entry, manifest)


def _said(source: Source, resolved: Resolved) -> Resolved:
    """With what the caller said of the source; an attestation keeps what it is."""
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
    if described.platform is None:
        return False
    return any(satisfies(described.platform, platform) for platform in source.platforms)


async def _parse(raw: bytes) -> ImageConfig:
    """Large ones off the event loop: what strangers wrote may take long, and others must not wait for it."""
    return parse_config(raw) if len(raw) <= PARSED_AT_ONCE else await asyncio.to_thread(parse_config, raw)


def _facts(config: ImageConfig) -> ImageFacts:
    labels = config.labels
    return ImageFacts(
        config.created, labels.get(keys.REVISION), labels.get(keys.SOURCE), labels.get(keys.VERSION)
    )


async def _caught(work: Awaitable[list[Resolved]]) -> list[Resolved] | BrokerError:
    # A task group would wrap what is raised, and cancel the others for it.
    try:
        return await work
    except BrokerError as error:
        return error


def _combined(sources: Sequence[Source], failures: dict[int, BrokerError]) -> BrokerError:
    """One error for all that failed: of their common class if they have one, with each under its pointer."""
    errors = [
        FieldError(
            f"/sources/{position}",
            error.detail,
            {"reference": str(sources[position].reference), "code": error.code, **error.members},
        )
        for position, error in failures.items()
    ]
    # What may pass is tried again only if nothing that won't pass stands beside it.
    final = [error for error in failures.values() if not error.retryable]
    deciding = final or list(failures.values())
    kinds = Counter(type(error) for error in deciding)
    first = deciding[0]
    kind = type(first) if len(kinds) == 1 else SourcesFailed
    detail = first.detail
    if len(failures) > 1:
        detail = f"{len(failures)} of {len(sources)} sources could not be used; the first: {first.detail}"
    members = first.members if len(failures) == 1 else {"retry_after": first.retry_after}
    return kind(detail, errors=errors, **members)
