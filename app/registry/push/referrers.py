"""Copies the referrers of a push's images, such as signatures, and in turn their referrers.

One search serves all targets, up to a limit for one push.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from app import errors
from app.concurrency.singleflight import AsyncCache
from app.oci import media_types
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import ImageManifest, Index, Manifest
from app.oci.reference import Repository
from app.oci.referrers import describe_referrer
from app.oci.text import shown
from app.registry.auth.scope import pushing
from app.registry.content.manifests import fetch_manifest, is_present
from app.registry.content.referrers import list_referrers
from app.registry.limits import Limits
from app.registry.push.blobs import BlobCopies
from app.registry.push.model import ReferrerAction, ReferrerOutcome, StepName, TargetProgress
from app.registry.push.writer import Writer
from app.registry.repository import RemoteRepository

__all__ = ["FoundReferrers", "Referrer", "ReferrerCopies", "ReferrerSearch"]

_DEEPEST_NESTING = 2


@dataclass(frozen=True, slots=True)
class Referrer:
    """A referrer, or a manifest that a referring index lists, with the manifests that must precede it."""

    manifest: Manifest
    parsed: ImageManifest | Index
    children: tuple[Referrer, ...] = ()

    @property
    def digest(self) -> Digest:
        return self.manifest.digest

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        return self.parsed.copyable_blobs if isinstance(self.parsed, ImageManifest) else ()


@dataclass(frozen=True, slots=True)
class FoundReferrers:
    """The referrers of one manifest; `missing` are listed and no longer exist."""

    referrers: tuple[Referrer, ...] = ()
    missing: tuple[Descriptor, ...] = ()


class ReferrerSearch:
    """Fetches each listed referrer, and drops those that do not name the subject themselves.

    A manifest names its subject by digest, so the search can't run in circles.
    """

    def __init__(self, remote_of: Callable[[Repository], RemoteRepository], limits: Limits) -> None:
        self._remote_of = remote_of
        self._limits = limits
        self._found: AsyncCache[tuple[Repository, Digest], FoundReferrers] = AsyncCache()
        self._count = 0
        self._kept_bytes = 0
        self._bytes = 0

    async def of(self, source: Repository, subject: Digest) -> FoundReferrers:
        return await self._found.get((source, subject), lambda: self._find(source, subject))

    async def _find(self, source: Repository, subject: Digest) -> FoundReferrers:
        remote = self._remote_of(source)
        listed = await list_referrers(remote, subject)
        self._count_in(remote, len(listed))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._fetch_if_there(remote, each)) for each in listed]
        fetched = [task.result() for task in tasks]
        return FoundReferrers(
            referrers=tuple(each for each in fetched if each is not None and _refers(each, subject)),
            missing=tuple(each for each, got in zip(listed, fetched, strict=True) if got is None),
        )

    async def _fetch_if_there(self, remote: RemoteRepository, listed: Descriptor) -> Referrer | None:
        """Fetch a listed referrer; None if it was deleted, since a list in a tag keeps deleted entries."""
        try:
            manifest, parsed = await self._fetch(remote, listed)
        except errors.SourceNotFound:
            return None
        return await self._with_children(remote, manifest, parsed, nesting=0)

    async def _fetch(
        self, remote: RemoteRepository, listed: Descriptor
    ) -> tuple[Manifest, ImageManifest | Index]:
        reference = remote.repository.at(listed.digest)
        if listed.media_type not in media_types.MANIFEST_TYPES:
            raise errors.SourceUnsupported(
                f'{reference} refers to an image and has the media type "{shown(listed.media_type)}", '
                "which the broker does not copy.",
                **remote.context(reference).members,
            )
        parsed = (await fetch_manifest(remote, reference, described=listed.media_type)).manifest
        blobs = parsed.copyable_blobs if isinstance(parsed, ImageManifest) else ()
        self._weigh(remote, parsed.manifest.size, blobs)
        return replace(parsed.manifest, digest=listed.digest), parsed

    async def _with_children(
        self, remote: RemoteRepository, manifest: Manifest, parsed: ImageManifest | Index, *, nesting: int
    ) -> Referrer:
        if isinstance(parsed, ImageManifest):
            return Referrer(manifest, parsed)
        if nesting >= _DEEPEST_NESTING:
            reference = remote.repository.at(manifest.digest)
            raise errors.SourceUnsupported(
                f"{reference} is nested too deeply in an index.", **remote.context(reference).members
            )
        self._count_in(remote, len(parsed.manifests))

        async def look_into(listed: Descriptor) -> Referrer:
            return await self._with_children(remote, *await self._fetch(remote, listed), nesting=nesting + 1)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(look_into(each)) for each in parsed.manifests]
        return Referrer(manifest, parsed, tuple(task.result() for task in tasks))

    def _count_in(self, remote: RemoteRepository, more: int) -> None:
        self._count += more
        if self._count > self._limits.referrers:
            raise self._too_much(remote, f"{self._limits.referrers} manifests")

    def _weigh(self, remote: RemoteRepository, size: int, blobs: Iterable[Descriptor]) -> None:
        self._kept_bytes += size
        self._bytes += size + sum(blob.size for blob in blobs)
        if self._kept_bytes > self._limits.referrer_manifest_bytes:
            raise self._too_much(remote, f"{self._limits.referrer_manifest_bytes} bytes of manifests")
        if self._bytes > self._limits.referrer_bytes:
            raise self._too_much(remote, f"{self._limits.referrer_bytes} bytes")

    def _too_much(self, remote: RemoteRepository, limit: str) -> errors.SourceTooLarge:
        return errors.SourceTooLarge(
            f"The images of {remote.repository} have too many referrers for one push; the limit is {limit}.",
            **remote.context().members,
        )


def _refers(referrer: Referrer, subject: Digest) -> bool:
    named = referrer.parsed.subject
    return named is not None and named.digest == subject


class _Copied(NamedTuple):
    """The outcome of a referrer, and whether the registry itself lists it now."""

    referrer: Referrer
    action: ReferrerAction
    is_listed: bool


class ReferrerCopies:
    """Copies the content of each referrer before its manifest, and lists it under its subject after that."""

    def __init__(
        self,
        target: RemoteRepository,
        search: ReferrerSearch,
        blobs: BlobCopies,
        progress: TargetProgress,
        writer: Writer,
    ) -> None:
        self._target = target
        self._scopes = pushing(target.path)
        self._search = search
        self._blobs = blobs
        self._progress = progress
        self._writer = writer
        self._already_listed: AsyncCache[Digest, frozenset[Digest]] = AsyncCache()
        self._outcomes: list[ReferrerOutcome] = []

    @property
    def outcomes(self) -> tuple[ReferrerOutcome, ...]:
        return tuple(sorted(self._outcomes, key=lambda each: (each.subject, each.digest)))

    async def copy(self, subject: Digest, holders: Sequence[Repository], depth: int = 1) -> None:
        """Copy a manifest's referrers from the first of `holders`; blobs may be mounted from any of them."""
        if depth > self._target.state.limits.referrer_depth:
            return
        found = await self._search.of(holders[0], subject)
        self._progress.add(StepName.REFERRERS, total=len(found.referrers))
        async with asyncio.TaskGroup() as group:
            copying = [
                group.create_task(self._copy(group, subject, each, holders)) for each in found.referrers
            ]
        copied = [task.result() for task in copying]
        await self._list(subject, [each.referrer for each in copied if not each.is_listed])
        self._report(subject, copied, found.missing)
        async with asyncio.TaskGroup() as group:
            for each in found.referrers:
                group.create_task(self.copy(each.digest, holders, depth + 1))

    async def _copy(
        self, group: asyncio.TaskGroup, subject: Digest, referrer: Referrer, holders: Sequence[Repository]
    ) -> _Copied:
        """Copy one referrer; one that is present may still be missing from the list of referrers."""
        if await is_present(self._target, referrer.digest, scopes=self._scopes):
            if referrer.digest in await self._already_listed.get(subject, lambda: self._ask(subject)):
                return _Copied(referrer, ReferrerAction.PRESENT, is_listed=True)
        else:
            await self._copy_content(group, referrer, holders)
        repair = self._blobs.repair_for(group, holders[0], referrer.blobs)
        is_listed = await self._writer.put_manifest(referrer.manifest, repair)
        return _Copied(referrer, ReferrerAction.PUT, is_listed)

    async def _copy_content(
        self, group: asyncio.TaskGroup, referrer: Referrer, holders: Sequence[Repository]
    ) -> None:
        for child in referrer.children:
            if not await is_present(self._target, child.digest, scopes=self._scopes):
                await self._copy_content(group, child, holders)
                repair = self._blobs.repair_for(group, holders[0], child.blobs)
                await self._writer.put_listed(child.manifest, repair)
        for holder in holders:
            self._blobs.add_holder(holder, referrer.blobs)
        await self._blobs.copy(group, holders[0], referrer.blobs)

    async def _ask(self, subject: Digest) -> frozenset[Digest]:
        listed = await list_referrers(self._target, subject, scopes=self._scopes)
        return frozenset(descriptor.digest for descriptor in listed)

    async def _list(self, subject: Digest, unlisted: Sequence[Referrer]) -> None:
        if unlisted:
            described = [describe_referrer(each.parsed, each.digest) for each in unlisted]
            await self._writer.list_in_tag(subject, described)

    def _report(self, subject: Digest, copied: Sequence[_Copied], missing: Sequence[Descriptor]) -> None:
        for each in copied:
            described = describe_referrer(each.referrer.parsed, each.referrer.digest)
            self._record(subject, described, each.action)
            self._progress.finish(StepName.REFERRERS, str(described.digest), each.action)
        for described in missing:
            self._record(subject, described, ReferrerAction.MISSING)

    def _record(self, subject: Digest, described: Descriptor, action: ReferrerAction) -> None:
        self._outcomes.append(ReferrerOutcome(subject, described.digest, described.artifact_type, action))
