"""The manifests that an index lists, copied to one target concurrently with their blobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app import errors
from app.oci.digest import Digest
from app.oci.reference import Repository
from app.registry.auth.scope import pushing
from app.registry.capabilities import MountSupport
from app.registry.content.manifests import is_present
from app.registry.push.blobs import BlobCopies
from app.registry.push.model import CopyChild, ManifestAction, ManifestOutcome, StepName, TargetProgress
from app.registry.push.referrers import ReferrerCopies
from app.registry.push.writer import Writer
from app.registry.repository import RemoteRepository

__all__ = ["Children"]


class Children:
    """Puts each manifest once, by digest and never under the tag that clients use.

    `first` are the children of the first target on the same registry, if this target is not the first. With
    `checks_blobs`, the blobs of existing manifests are looked up too. Otherwise the push assumes that the
    registry has them until it reports one missing.
    """

    def __init__(
        self,
        remote: RemoteRepository,
        children: Sequence[CopyChild],
        blobs: BlobCopies,
        progress: TargetProgress,
        writer: Writer,
        *,
        checks_blobs: bool = False,
        first: Children | None = None,
        referrers: ReferrerCopies | None = None,
    ) -> None:
        self._remote = remote
        self._scopes = pushing(remote.path)
        self._blobs = blobs
        self._progress = progress
        self._writer = writer
        self._checks_blobs = checks_blobs
        self._first = first
        self._referrers = referrers
        self._children = _distinct(children, remote.repository)
        self._copying: dict[Digest, asyncio.Task[ManifestOutcome]] = {}
        self._seen: dict[Digest, float] = {}
        for child in children:
            blobs.add_holder(child.source, child.blobs)
        progress.add(StepName.MANIFESTS, total=len(self._children))

    @property
    def repository(self) -> Repository:
        return self._remote.repository

    @property
    def outcomes(self) -> tuple[ManifestOutcome, ...]:
        return tuple(task.result() for task in self._copying.values())

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start copying all of them."""
        for digest, child in self._children.items():
            self._copying[digest] = group.create_task(self._copy(group, child))

    def remember(self) -> None:
        """Remember the blobs in this repository, so that later pushes elsewhere can mount them."""
        remote = self._remote
        for child in self._children.values():
            remote.state.pushed_blobs.record(remote.access.tenant, remote.repository, child.blobs)

    async def first(self) -> ManifestOutcome | None:
        """The outcome of the first child that completes; None if it fails."""
        if not self._copying:
            return None
        done, _ = await asyncio.wait(self._copying.values(), return_when=asyncio.FIRST_COMPLETED)
        arrived = (task.result() for task in done if not task.cancelled() and task.exception() is None)
        return next(arrived, None)

    async def will_have(self, digest: Digest) -> bool:
        """Wait for a child that is being copied; true if it arrives."""
        copying = self._copying.get(digest)
        if copying is None:
            return False
        await asyncio.wait({copying})
        return not copying.cancelled() and copying.exception() is None

    async def recheck(self) -> None:
        """Check children again that were seen long ago: untagged manifests may be collected meanwhile."""
        long_ago = asyncio.get_running_loop().time() - self._remote.state.limits.fresh_seconds
        doubtful = [child for digest, child in self._children.items() if self._seen[digest] < long_ago]
        if doubtful:
            self._blobs.forget()
        async with asyncio.TaskGroup() as group:
            for child in doubtful:
                group.create_task(self._ensure(group, child))

    async def repair(self, error: errors.RegistryRejected) -> None:
        """Put existing children again if the registry's error shows that it lacks them or their blobs."""
        missing = set(error.missing_digests)
        listed = [child for child in self._children.values() if not missing.isdisjoint(_digests(child))]
        async with asyncio.TaskGroup() as group:
            for child in listed or self._children.values():
                group.create_task(self._ensure(group, child, is_doubted=True))

    async def _copy(self, group: asyncio.TaskGroup, child: CopyChild) -> ManifestOutcome:
        action = await self._ensure(group, child)
        self._progress.finish(StepName.MANIFESTS, str(child.manifest.digest), action)
        if self._referrers is not None and child.source != self.repository:
            first = await self._first_with(child)
            holders = [child.source] if first is None else [child.source, first]
            await self._referrers.copy_all(child.manifest.digest, holders)
        return ManifestOutcome(child.manifest.digest, action)

    async def _ensure(
        self, group: asyncio.TaskGroup, child: CopyChild, *, is_doubted: bool = False
    ) -> ManifestAction:
        """Copy the blobs, then put the manifest, unless the manifest is present.

        This includes children from the target itself, since not every registry checks them when it
        takes an index.
        """
        digest = child.manifest.digest
        action = ManifestAction.PRESENT
        is_there = not is_doubted and await is_present(self._remote, digest, scopes=self._scopes)
        if is_there and self._checks_blobs:
            await self._blobs.copy(group, child.source, child.blobs)
        elif not is_there:
            action = ManifestAction.PUT
            if (first := await self._first_with(child)) is not None:
                self._blobs.add_holder(first, child.blobs)
            await self._blobs.copy(group, child.source, child.blobs)
            for listed in child.listed:
                await self.will_have(listed)
            repair = self._blobs.repair_for(group, child.source, child.blobs)
            await self._writer.put_listed(child.manifest, repair)
        self._seen[digest] = asyncio.get_running_loop().time()
        return action

    async def _first_with(self, child: CopyChild) -> Repository | None:
        """The first target on this registry, once it has the child: to mount from, instead of a second copy.

        The manifest must be there too, since some registries mount only blobs that a manifest lists.
        """
        first, here = self._first, self._remote
        if first is None or child.source.registry == here.registry:
            return None
        support = (await here.capabilities()).mount_support(first.repository.path)
        if support is MountSupport.GRANTED and await first.will_have(child.manifest.digest):
            return first.repository
        return None


def _digests(child: CopyChild) -> set[str]:
    return {str(child.manifest.digest), *(str(blob.digest) for blob in child.blobs)}


def _distinct(children: Sequence[CopyChild], target: Repository) -> dict[Digest, CopyChild]:
    """Each manifest once; like Docker, prefer one that is in the target already."""
    chosen: dict[Digest, CopyChild] = {}
    for child in children:
        digest = child.manifest.digest
        if digest not in chosen or child.source == target:
            chosen[digest] = child
    return chosen
