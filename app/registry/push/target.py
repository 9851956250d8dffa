"""One target of a push: it stages everything but the tags, and then moves the tags."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.oci.reference import Reference, Repository
from app.registry.auth.access import Access
from app.registry.auth.scope import pushing
from app.registry.client import RegistryClient
from app.registry.content.manifests import find_manifest, read_manifest
from app.registry.push.blobs import BlobCopies
from app.registry.push.children import Children
from app.registry.push.model import (
    CopyChild,
    CopyResult,
    CopyTarget,
    DryRunResult,
    ReferrerOutcome,
    Step,
    StepName,
    TagAction,
    TargetProgress,
)
from app.registry.push.referrers import ReferrerCopies, ReferrerSearch
from app.registry.push.writer import IndexWriter, Writer
from app.registry.repository import RemoteRepository

__all__ = ["ManifestCache", "OnProgress", "PushSource", "TargetStage", "build_stages", "remotes_for"]

OnProgress = Callable[[Repository, Step], None]


class ManifestCache:
    """Keeps manifests that the push reads and needs again later, up to a size in bytes.

    The limit is fixed, so that no registry decides how much memory a push needs.
    """

    def __init__(self, size: int) -> None:
        self._left = size
        self._manifests: dict[Digest, Manifest] = {}

    @property
    def manifests(self) -> Mapping[Digest, Manifest]:
        return MappingProxyType(self._manifests)

    def add(self, manifest: Manifest) -> None:
        if manifest.digest not in self._manifests and manifest.size <= self._left:
            self._left -= manifest.size
            self._manifests[manifest.digest] = manifest


@dataclass(frozen=True, slots=True)
class PushSource:
    """What all targets of a push share.

    With `reads_tags`, tags are read while children are copied. `cache` keeps the manifests that are read.
    With a `search`, the referrers of the children are copied too.
    """

    client: RegistryClient
    children: Sequence[CopyChild]
    access: Access
    writer_for: Callable[[RemoteRepository], Writer]
    cache: ManifestCache
    reads_tags: bool = True
    search: ReferrerSearch | None = None


def remotes_for(
    client: RegistryClient, access: Access, targets: Sequence[CopyTarget]
) -> Callable[[Repository], RemoteRepository]:
    """Open the repositories of a push: its targets may be insecure, and no other registry."""
    registries = {target.repository.registry for target in targets}

    def remote_of(source: Repository) -> RemoteRepository:
        return client.remote(source, client.access_at(source.registry, access, registries))

    return remote_of


def build_stages(
    source: PushSource, targets: Sequence[CopyTarget], on_progress: OnProgress
) -> list[TargetStage]:
    stages: list[TargetStage] = []
    remote_of = remotes_for(source.client, source.access, targets)
    for target in targets:
        here = target.repository
        stage = TargetStage(
            source,
            target,
            partial(on_progress, here),
            remote_of=remote_of,
            first=next((each for each in stages if each.registry == here.registry), None),
            by_digest=sum(len(each.tags) for each in targets) > 1,
        )
        stages.append(stage)
    return stages


class TargetStage:
    """Stages one target: puts everything but the tags, and then moves the tags.

    `push.push` coordinates the stages of all targets. `first` is the first stage on the same registry, if
    this is not the first. With `by_digest`, the index is put under its digest before any tag.
    """

    def __init__(
        self,
        source: PushSource,
        target: CopyTarget,
        on_step: Callable[[Step], None],
        *,
        remote_of: Callable[[Repository], RemoteRepository],
        first: TargetStage | None,
        by_digest: bool,
    ) -> None:
        self.target = target
        self._reads_tags = source.reads_tags
        self._by_digest = by_digest
        here = target.repository
        self._remote = remote_of(here)
        self._scopes = pushing(here.path)
        self._progress = TargetProgress(on_step)
        writer = source.writer_for(self._remote)
        self._blobs = BlobCopies(self._remote, self._progress, remote_of, writer.copy_blob)
        self._referrers = (
            ReferrerCopies(self._remote, source.search, self._blobs, self._progress, writer)
            if source.search is not None
            else None
        )
        self.children: Children = Children(
            self._remote,
            source.children,
            self._blobs,
            self._progress,
            writer,
            first=first.children if first else None,
            referrers=self._referrers,
        )
        self._index = IndexWriter(self._remote, target.index, self.children.repair)
        self._progress.add(StepName.TAGS, total=max(1, len(target.tags)))
        self._previous: dict[str, Digest | None] = {}
        self._cache = source.cache
        self._read_at = 0.0
        self._actions: dict[str, TagAction] = {}

    @property
    def registry(self) -> str:
        return self.target.repository.registry

    async def copy_children(self) -> None:
        """Copy everything that the index lists."""
        async with asyncio.TaskGroup() as group:
            if self._reads_tags:
                group.create_task(self._find_tags())
            self.children.start(group)

    async def stage(self) -> None:
        """Put everything but the tags: the children, and the index under its digest if needed.

        It is needed with several tags, so that all of them lead to the same bytes, and without any
        tag.
        """
        await self.copy_children()
        if self._by_digest or not self.target.tags:
            await self._index.put(str(self.target.index.digest))
        if not self.target.tags:
            self._progress.finish(StepName.TAGS, str(self.target.index.digest), TagAction.MOVED)

    async def recheck(self) -> None:
        """Check the children again: other targets may have taken so long that these were collected."""
        await self.children.recheck()

    async def read_tags(self, *, strictly: bool) -> None:
        """Read the tags again if that is required, or if the snapshot is old.

        The children have arrived by now, and others may have pushed meanwhile.
        """
        age = asyncio.get_running_loop().time() - self._read_at
        if not (strictly or age > self._remote.state.limits.snapshot_seconds):
            return
        async with asyncio.TaskGroup() as group:
            for tag in self.target.tags:
                group.create_task(self._read_tag(tag, strictly=strictly))

    @property
    def previous(self) -> Mapping[Reference, Digest | None]:
        return {self.target.repository.tagged(tag): digest for tag, digest in self._previous_in_order.items()}

    def moves(self, left: Collection[Reference]) -> list[Coroutine[None, None, None]]:
        """The moves of all tags but those to leave, which are reported as left."""
        moves = []
        for tag in self.target.tags:
            if self.target.repository.tagged(tag) in left:
                self._finish(tag, TagAction.LEFT)
            else:
                moves.append(self._move(tag))
        return moves

    @property
    def result(self) -> CopyResult:
        return CopyResult(
            manifests=self.children.outcomes,
            blobs=self._blobs.counts,
            previous=self._previous_in_order,
            tags={tag: self._actions[tag] for tag in self.target.tags},
            referrers=self._referrer_outcomes,
        )

    @property
    def dry_run_result(self) -> DryRunResult:
        return DryRunResult(
            manifests=self.children.outcomes,
            blobs=self._blobs.outcomes,
            counts=self._blobs.counts,
            previous=self._previous_in_order,
            previous_manifests=self._cache.manifests,
            referrers=self._referrer_outcomes,
        )

    @property
    def _previous_in_order(self) -> dict[str, Digest | None]:
        return {tag: self._previous[tag] for tag in self.target.tags}

    @property
    def _referrer_outcomes(self) -> tuple[ReferrerOutcome, ...]:
        return self._referrers.outcomes if self._referrers is not None else ()

    async def _find_tags(self) -> None:
        async with asyncio.TaskGroup() as group:
            for tag in self.target.tags:
                group.create_task(self._find_tag(tag))
        self._read_at = asyncio.get_running_loop().time()

    async def _find_tag(self, tag: str) -> None:
        reference = self.target.repository.tagged(tag)
        self._previous[tag] = None
        # Some registries answer this for a tag that does not exist. The PUT will show whether
        # access is denied.
        with contextlib.suppress(errors.RegistryDenied):
            self._record(tag, await find_manifest(self._remote, reference, scopes=self._scopes))

    async def _read_tag(self, tag: str, *, strictly: bool) -> None:
        try:
            self._record(tag, await read_manifest(self._remote, tag, scopes=self._scopes))
        except errors.RegistryDenied:
            # The tag was denied when it was first read, too, and counts as unchanged.
            if strictly:
                raise

    def _record(self, tag: str, found: Descriptor | Manifest | None) -> None:
        self._previous[tag] = None if found is None else found.digest
        if isinstance(found, Manifest):
            self._cache.add(found)

    async def _move(self, tag: str) -> None:
        await self._index.put(tag)
        self._finish(tag, TagAction.MOVED)

    def _finish(self, tag: str, action: TagAction) -> None:
        self._actions[tag] = action
        self._progress.finish(StepName.TAGS, tag, action)
