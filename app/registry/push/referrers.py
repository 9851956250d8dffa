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
from app.oci.reference import Reference, Repository
from app.oci.referrers import cosign_tags, describe_referrer
from app.oci.text import shown
from app.registry.auth.scope import pulling, pushing
from app.registry.content.absence import is_absent
from app.registry.content.manifests import fetch_manifest, is_present, read_digest
from app.registry.content.referrers import list_referrers
from app.registry.limits import Limits
from app.registry.push.blobs import BlobCopies
from app.registry.push.model import LeftBehind, ReferrerAction, ReferrerOutcome, StepName, TargetProgress
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
        return _blobs_of(self.parsed)


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
        self._existing: AsyncCache[tuple[Repository, Digest], bool] = AsyncCache()
        self._tagged: AsyncCache[Reference, Referrer | None] = AsyncCache()
        self._count = 0
        self._kept_bytes = 0
        self._bytes = 0

    async def of(self, source: Repository, subject: Digest) -> FoundReferrers:
        return await self._found.get((source, subject), lambda: self._find(source, subject))

    async def under(self, reference: Reference) -> Referrer | None:
        """What a tag holds that refers to a manifest by its name alone; None if there is no such tag."""
        return await self._tagged.get(reference, lambda: self._find_under(reference))

    async def exists(self, source: Repository, digest: Digest) -> bool:
        remote = self._remote_of(source)
        return await self._existing.get(
            (source, digest), lambda: is_present(remote, digest, scopes=pulling(remote.path))
        )

    async def _find_under(self, reference: Reference) -> Referrer | None:
        remote = self._remote_of(reference.repository)
        try:
            parsed = (await fetch_manifest(remote, reference)).manifest
        except errors.SourceNotFound:
            return None
        except errors.RegistryDenied:
            # The images there have been read.
            tag, scopes = str(reference.tag), pulling(remote.path)
            if await is_absent(remote, tag, scopes=scopes, can_read=True):
                return None
            raise
        self._count_in(remote, 1)
        self._weigh(remote, parsed.manifest.size, _blobs_of(parsed))
        return await self._with_children(remote, parsed.manifest, parsed, nesting=0)

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
        self._weigh(remote, parsed.manifest.size, _blobs_of(parsed))
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


def _blobs_of(parsed: ImageManifest | Index) -> tuple[Descriptor, ...]:
    return parsed.copyable_blobs if isinstance(parsed, ImageManifest) else ()


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
        self._left_behind: list[LeftBehind] = []

    @property
    def outcomes(self) -> tuple[ReferrerOutcome, ...]:
        return tuple(sorted(self._outcomes, key=lambda each: (each.subject, each.digest)))

    @property
    def left_behind(self) -> tuple[LeftBehind, ...]:
        return tuple(sorted(self._left_behind, key=lambda each: str(each.reference)))

    async def copy_all(self, subject: Digest, holders: Sequence[Repository]) -> None:
        """Copy a manifest's referrers and what cosign has tagged for it, from the first of `holders`.

        Blobs may be mounted from any of them.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self.copy(subject, holders))
            for tag in cosign_tags(subject):
                group.create_task(self._copy_tagged(subject, tag, holders))

    async def copy_of_index(self, digest: Digest, sources: Iterable[Repository]) -> None:
        """Copy the referrers of an index that is an exact copy of one in a source."""
        for source in sources:
            if await self._search.exists(source, digest):
                await self.copy_all(digest, [source])

    async def copy(self, subject: Digest, holders: Sequence[Repository], depth: int = 1) -> None:
        """Copy a manifest's referrers, and in turn theirs."""
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

    async def _copy_tagged(self, subject: Digest, tag: str, holders: Sequence[Repository]) -> None:
        """Copy what cosign keeps under a tag; other signatures that the target has under it stay."""
        reference, here = holders[0].tagged(tag), self._target.repository.tagged(tag)
        try:
            found = await self._search.under(reference)
        except (errors.RegistryDenied, errors.SourceUnusable) as error:
            self._left_behind.append(LeftBehind(reference, error.detail))
            return
        if found is None:
            return
        self._progress.add(StepName.REFERRERS, total=1)
        action = await self._put_tagged(tag, found, holders)
        if action is None:
            self._left_behind.append(LeftBehind(reference, f"{here} holds something else, or can't be read."))
            return
        self._record(subject, describe_referrer(found.parsed, found.digest), action, tag)
        self._progress.finish(StepName.REFERRERS, tag, action)

    async def _put_tagged(
        self, tag: str, found: Referrer, holders: Sequence[Repository]
    ) -> ReferrerAction | None:
        """None if the tag holds something else at the target."""
        try:
            held = await read_digest(self._target, tag, scopes=self._scopes)
        except errors.RegistryDenied:
            if not await is_absent(self._target, tag, scopes=self._scopes, can_read=False):
                return None
            held = None
        if held is not None:
            return ReferrerAction.PRESENT if held == found.digest else None
        async with asyncio.TaskGroup() as group:
            await self._copy_content(group, found, holders)
            repair = self._blobs.repair_for(group, holders[0], found.blobs)
            await self._writer.put_tagged(tag, found.manifest, repair)
        return ReferrerAction.PUT

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

    def _record(
        self, subject: Digest, described: Descriptor, action: ReferrerAction, tag: str | None = None
    ) -> None:
        outcome = ReferrerOutcome(subject, described.digest, described.artifact_type, action, tag)
        self._outcomes.append(outcome)
