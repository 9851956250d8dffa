"""The manifests that an index lists, and their blobs, brought to one target side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app import errors
from app.oci.digest import Digest
from app.oci.reference import Repository
from app.registry.auth.scope import pushing
from app.registry.content.manifests import is_present
from app.registry.mounts import Standing
from app.registry.push.blob_copies import BlobCopies
from app.registry.push.hands import Hands
from app.registry.push.model import CopyChild, ManifestAction, PlacedManifest
from app.registry.push.referrer_copies import ReferrerCopies
from app.registry.push.steps import StepName, Steps
from app.registry.repository import Remote

__all__ = ["Children"]


class Children:
    """Each digest once, put under its digest: never under the tag that readers follow.

    `first` are the children of the first target on this registry, where this one is another.
    """

    def __init__(
        self,
        remote: Remote,
        children: Sequence[CopyChild],
        blobs: BlobCopies,
        steps: Steps,
        hands: Hands,
        *,
        first: Children | None = None,
        referrers: ReferrerCopies | None = None,
    ) -> None:
        self._remote = remote
        self._scopes = pushing(remote.path)
        self._blobs = blobs
        self._steps = steps
        self._hands = hands
        self._first = first
        self._referrers = referrers
        self._children = _distinct(children, remote.repository)
        self._placing: dict[Digest, asyncio.Task[PlacedManifest]] = {}
        self._seen: dict[Digest, float] = {}
        for child in children:
            blobs.note_holder(child.source, child.blobs)
        steps.add(StepName.MANIFESTS, total=len(self._children))

    @property
    def repository(self) -> Repository:
        return self._remote.repository

    @property
    def placed(self) -> tuple[PlacedManifest, ...]:
        return tuple(task.result() for task in self._placing.values())

    def place(self, group: asyncio.TaskGroup) -> None:
        """Begins all of them."""
        for digest, child in self._children.items():
            self._placing[digest] = group.create_task(self._place(group, child))

    async def will_have(self, digest: Digest) -> bool:
        """Whether what is being placed now came to be there."""
        placing = self._placing.get(digest)
        if placing is None:
            return False
        await asyncio.wait({placing})
        return not placing.cancelled() and placing.exception() is None

    async def look_again(self) -> None:
        """Untagged manifests may be collected while large blobs are still on their way."""
        long_ago = asyncio.get_running_loop().time() - self._remote.services.limits.fresh_seconds
        doubtful = [child for digest, child in self._children.items() if self._seen[digest] < long_ago]
        if doubtful:
            self._blobs.forget()
        async with asyncio.TaskGroup() as group:
            for child in doubtful:
                group.create_task(self._bring(group, child))

    async def mend(self, error: errors.RegistryRejected) -> None:
        """Puts anew what the registry says that it lacks, whatever it said when it was asked for it."""
        listed = [child for digest, child in self._children.items() if str(digest) in error.missing_digests]
        async with asyncio.TaskGroup() as group:
            for child in listed or self._children.values():
                group.create_task(self._bring(group, child, is_doubted=True))

    async def _place(self, group: asyncio.TaskGroup, child: CopyChild) -> PlacedManifest:
        action = await self._bring(group, child)
        self._steps.finish(StepName.MANIFESTS, str(child.manifest.digest), action)
        if self._referrers is not None and child.source != self.repository:
            first = await self._first_with(child)
            holders = [child.source] if first is None else [child.source, first]
            await self._referrers.bring(child.manifest.digest, holders)
        return PlacedManifest(child.manifest.digest, action)

    async def _bring(
        self, group: asyncio.TaskGroup, child: CopyChild, *, is_doubted: bool = False
    ) -> ManifestAction:
        """Blobs first, then the manifest.

        Even of the target's own children, since not every registry looks for them when it takes an index.
        """
        digest = child.manifest.digest
        action = ManifestAction.PRESENT
        if is_doubted or not await is_present(self._remote, digest, scopes=self._scopes):
            action = ManifestAction.PUT
            if (first := await self._first_with(child)) is not None:
                self._blobs.note_holder(first, child.blobs)
            await self._blobs.bring(group, child.source, child.blobs)
            mend = self._blobs.mender(group, child.source, child.blobs)
            await self._hands.place(self._remote, child.manifest, mend)
        self._seen[digest] = asyncio.get_running_loop().time()
        return action

    async def _first_with(self, child: CopyChild) -> Repository | None:
        """The first target, once it has what comes from another registry: to mount from, instead of a copy.

        Once it has the manifest, since not every registry mounts what no manifest lists.
        """
        first, here = self._first, self._remote
        if first is None or child.source.registry == here.registry:
            return None
        standing = here.services.mounts.of(here.registry, first.repository.path, here.path)
        if standing is Standing.MOUNTS and await first.will_have(child.manifest.digest):
            return first.repository
        return None


def _distinct(children: Sequence[CopyChild], target: Repository) -> dict[Digest, CopyChild]:
    """Each manifest once; one that the target has already, as Docker sees it, before any other."""
    chosen: dict[Digest, CopyChild] = {}
    for child in children:
        digest = child.manifest.digest
        if digest not in chosen or child.source == target:
            chosen[digest] = child
    return chosen
