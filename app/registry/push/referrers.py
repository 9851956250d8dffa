"""Copies the referrers of a push's images, such as signatures, and in turn their referrers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from app import errors
from app.concurrency.singleflight import AsyncCache
from app.oci.cosign import cosign_tags
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.reference import Reference, Repository
from app.oci.referrers import describe_referrer
from app.registry.auth.scope import pushing
from app.registry.content.manifests import is_present
from app.registry.content.referrers import list_referrers
from app.registry.push.blobs import BlobCopies
from app.registry.push.model import LeftBehind, ReferrerAction, ReferrerOutcome, StepName, TargetProgress
from app.registry.push.referrer_search import Referrer, ReferrerSearch
from app.registry.push.tagged_referrers import TaggedCopies
from app.registry.push.writer import Writer
from app.registry.repository import RemoteRepository

__all__ = ["ReferrerCopies"]


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
        self._tagged = TaggedCopies(target, blobs, writer, self._copy_content)
        self._already_listed: AsyncCache[Digest, frozenset[Digest]] = AsyncCache()
        self._outcomes: list[ReferrerOutcome] = []
        self._left_behind: list[LeftBehind] = []

    @property
    def outcomes(self) -> tuple[ReferrerOutcome, ...]:
        return tuple(sorted(self._outcomes, key=lambda each: (each.subject, each.digest)))

    @property
    def left_behind(self) -> tuple[LeftBehind, ...]:
        return tuple(sorted(self._left_behind, key=lambda each: str(each.reference)))

    async def copy_all(self, subject: Digest, holders: Sequence[Repository], depth: int = 1) -> None:
        """Copy a manifest's referrers and what cosign has tagged for it, from the first of `holders`.

        Blobs may be mounted from any of them.
        """
        if depth > self._target.state.limits.referrer_depth:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self.copy(subject, holders, depth))
            for tag in cosign_tags(subject):
                group.create_task(self._copy_tagged(subject, tag, holders, depth))

    async def copy_of_index(self, digest: Digest, sources: Iterable[Repository]) -> None:
        """Copy the referrers of an index that is an exact copy of one in a source."""
        for source in sources:
            if await self._search.exists(source, digest):
                await self.copy_all(digest, [source])

    async def leave(self, index: Reference) -> None:
        """Report the referrers of a source index whose images get a new index. They sign different bytes."""
        reason = f"it refers to {index}, and the pushed index has another digest."
        try:
            found = await self._search.names_of(index)
        except (errors.RegistryDenied, errors.SourceUnusable) as error:
            found, reason = (index,), f"what refers to it can't be read: {error.detail}"
        self._left_behind += [LeftBehind(reference, reason) for reference in found]

    async def copy(self, subject: Digest, holders: Sequence[Repository], depth: int) -> None:
        """Copy a manifest's referrers, and their referrers in turn."""
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
                group.create_task(self.copy_all(each.digest, holders, depth + 1))

    async def _copy_tagged(
        self, subject: Digest, tag: str, holders: Sequence[Repository], depth: int
    ) -> None:
        """Copy the manifest under a cosign tag, and its referrers in turn."""
        reference, here = holders[0].tagged(tag), self._target.repository.tagged(tag)
        try:
            found = await self._search.under(reference)
        except (errors.RegistryDenied, errors.SourceUnusable) as error:
            self._left_behind.append(LeftBehind(reference, error.detail))
            return
        if found is None:
            return
        self._progress.add(StepName.REFERRERS, total=1)
        copy = await self._tagged.copy(tag, found, holders)
        if copy is None:
            reason = (
                f"{here} holds something that can't be joined with it, or the tag can't be read or changed."
            )
            self._left_behind.append(LeftBehind(reference, reason))
            return
        described = replace(describe_referrer(found.parsed, copy.manifest.digest), size=copy.manifest.size)
        self._record(subject, described, copy.action, tag)
        self._progress.finish(StepName.REFERRERS, tag, copy.action)
        await self.copy_all(found.digest, holders, depth + 1)

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
