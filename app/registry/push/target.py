"""One target of a push: it stages everything but the tags, and then moves the tags."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

from app import errors
from app.oci.digest import Digest
from app.oci.reference import Reference, Repository
from app.registry.auth.access import Access
from app.registry.client import RegistryClient
from app.registry.push.blobs import BlobCopies
from app.registry.push.children import Children
from app.registry.push.held_tags import HeldTags, ManifestCache
from app.registry.push.model import (
    CopyChild,
    CopyResult,
    CopyTarget,
    DryRunResult,
    Finished,
    LeftBehind,
    ManifestAction,
    ReferrerOutcome,
    Step,
    StepName,
    TagAction,
    TagLease,
    TagLeases,
    TagSnapshot,
    TargetProgress,
)
from app.registry.push.referrer_search import ReferrerSearch
from app.registry.push.referrers import ReferrerCopies
from app.registry.push.stall_watch import Activity
from app.registry.push.writer import IndexWriter, Writer
from app.registry.repository import RemoteRepository
from app.registry.warnings import WarningLog

__all__ = ["OnProgress", "PushSource", "TargetStage", "build_stages", "remotes_for"]

OnProgress = Callable[[Repository, Step], None]
# Decides about tags that were read, and returns the tags that must not move.
AskAgain = Callable[[TagSnapshot], Awaitable[Collection[Reference]]]


@dataclass(frozen=True, slots=True)
class PushSource:
    """The state that all targets of a push share.

    With `reads_tags`, the push reads tags while it copies children. `cache` keeps the manifests that were
    read. With a `search`, the referrers of the children are copied too. The referrers of `origins` are left
    behind, since the new index has different bytes. With `checks_blobs`, the blobs of existing children are
    looked up. With `allow_unverified`, tags may move although the registry does not let the push read them
    back.
    """

    client: RegistryClient
    children: Sequence[CopyChild]
    access: Access
    writer_for: Callable[[RemoteRepository], Writer]
    cache: ManifestCache
    reads_tags: bool = True
    allow_unverified: bool = False
    search: ReferrerSearch | None = None
    origins: Sequence[Reference] = ()
    checks_blobs: bool = False
    activity: Activity = field(default_factory=Activity)


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
        self._allow_unverified = source.allow_unverified
        self._by_digest = by_digest
        here = target.repository
        self._warnings = WarningLog()
        self._remote = replace(remote_of(here), warnings=self._warnings)
        self._progress = TargetProgress(on_step)
        writer = source.writer_for(self._remote)
        self._blobs = BlobCopies(self._remote, self._progress, remote_of, writer.copy_blob, source.activity)
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
            checks_blobs=source.checks_blobs,
            first=first.children if first else None,
            referrers=self._referrers,
        )
        self._index = IndexWriter(self._remote, target.index, self.children.repair)
        self._progress.add(StepName.TAGS, total=max(1, len(target.tags)))
        self._cache = source.cache
        self._sources = source.children
        self._origins = [each for each in source.origins if each.repository != here]
        self._held = HeldTags(self._remote, target.tags, source.cache)
        self._actions: dict[str, TagAction] = {}
        self._was_read = False

    @property
    def registry(self) -> str:
        return self.target.repository.registry

    async def copy_children(self, *, tests_reading: bool = False) -> None:
        """Copy everything that the index lists. `tests_reading` tests whether the first child can be read."""
        async with asyncio.TaskGroup() as group:
            finding = group.create_task(self._held.find()) if self._reads_tags else None
            self.children.start(group)
            if finding is not None and tests_reading:
                group.create_task(self._test_reading(finding))
            if self._referrers is not None:
                copied_from = dict.fromkeys(
                    each.source for each in self._sources if each.source != self.target.repository
                )
                group.create_task(self._referrers.copy_of_index(self.target.index.digest, copied_from))
                for index in self._origins:
                    group.create_task(self._referrers.leave(index))

    async def stage(self) -> None:
        """Put everything but the tags: the children, and the index under its digest if needed.

        It is needed with several tags, so that all of them lead to the same bytes, and without any
        tag.
        """
        await self.copy_children(tests_reading=bool(self.target.tags) and not self._by_digest)
        self.children.remember()
        digest = str(self.target.index.digest)
        if not self.target.tags:
            self._finish(digest, await self._put(digest))
            await self._index.list_under_subject()
        elif self._by_digest:
            unread = await self._index.put(digest)
            if isinstance(unread, errors.PushNotVerified) and not self._allow_unverified:
                raise unread
            # The tags themselves show whether the registry lets them be read.
            self._was_read = unread is None
            await self._index.list_under_subject()

    async def _test_reading(self, finding: asyncio.Task[None]) -> None:
        first = await self.children.first()
        if first is not None and first.action is ManifestAction.PUT:
            await finding
            await self._held.test_reading(first.digest)

    async def recheck(self) -> None:
        """Check the children again: other targets may have taken so long that these were collected."""
        await self.children.recheck()

    async def read_tags(self, *, strictly: bool) -> None:
        """Read the tags again where that is needed, now that the children have arrived."""
        await self._settle(self._held, is_strict=strictly)

    async def _settle(self, held: HeldTags, *, is_strict: bool) -> None:
        outcomes = self.children.outcomes
        is_present = any(each.action is ManifestAction.PRESENT for each in outcomes)
        witness = next((each.digest for each in outcomes), None)
        was_seen = is_present or self._was_read or self._held.shows is True
        await held.settle(is_strict=is_strict, witness=witness, was_seen=was_seen)

    async def judge_tags(self) -> None:
        """Decide about the tags that the registry denies, in a dry run, which has brought nothing."""
        present = (each for each in self.children.outcomes if each.action is ManifestAction.PRESENT)
        await self._held.judge_plan(next((each.digest for each in present), None))

    @property
    def previous(self) -> Mapping[Reference, Digest | None]:
        return {self.target.repository.tagged(tag): digest for tag, digest in self._held.digests.items()}

    @property
    def unread(self) -> Mapping[Reference, errors.TagUnreadable]:
        """The tags that may exist although the registry does not show them."""
        return {self.target.repository.tagged(tag): error for tag, error in self._held.unread.items()}

    def moves(
        self, left: Collection[Reference], leases: TagLeases | None, ask: AskAgain
    ) -> list[Coroutine[None, None, None]]:
        """The moves of all tags except the tags to leave, which are reported as left.

        `ask` decides again about a tag that another push has moved since it was read.
        """
        moves = []
        for tag in self.target.tags:
            if self.target.repository.tagged(tag) in left:
                self._finish(tag, TagAction.LEFT)
            else:
                moves.append(self._move_under_lease(tag, leases, ask))
        return moves

    @property
    def result(self) -> CopyResult:
        return CopyResult(
            manifests=self.children.outcomes,
            blobs=self._blobs.counts,
            previous=self._held.digests,
            tags={tag: self._actions[tag] for tag in self.target.tags} or self._actions,
            referrers=self._referrer_outcomes,
            left_behind=self._left_behind,
            warnings=self._warnings.texts,
        )

    @property
    def dry_run_result(self) -> DryRunResult:
        return DryRunResult(
            manifests=self.children.outcomes,
            blobs=self._blobs.outcomes,
            counts=self._blobs.counts,
            previous=self._held.digests,
            previous_manifests=self._cache.manifests,
            unread=self._held.unread,
            referrers=self._referrer_outcomes,
            left_behind=self._left_behind,
            warnings=self._warnings.texts,
        )

    @property
    def _referrer_outcomes(self) -> tuple[ReferrerOutcome, ...]:
        return self._referrers.outcomes if self._referrers is not None else ()

    @property
    def _left_behind(self) -> tuple[LeftBehind, ...]:
        return self._referrers.left_behind if self._referrers is not None else ()

    async def _move_under_lease(self, tag: str, leases: TagLeases | None, ask: AskAgain) -> None:
        async with self._lease(tag, leases) as lease:
            if lease.is_left or (lease.is_stale and await self._is_left_now(tag, ask)):
                self._finish(tag, TagAction.LEFT)
                return
            await self._move(tag, lease)
        # Other pushes need not wait for this step, so it runs after the lease.
        await self._index.list_under_subject()

    def _lease(self, tag: str, leases: TagLeases | None) -> AbstractAsyncContextManager[TagLease]:
        if leases is None:
            return nullcontext(TagLease())
        prove = None if self._has_written else self._prove
        return leases.of(self.target.repository.tagged(tag), prove=prove)

    async def _is_left_now(self, tag: str, ask: AskAgain) -> bool:
        """Read the tag again and decide about it again."""
        held = HeldTags(self._remote, (tag,), self._cache)
        await self._settle(held, is_strict=True)
        at = self.target.repository.tagged(tag)
        unread = {at: held.unread[tag]} if tag in held.unread else {}
        snapshot = TagSnapshot({at: held.digests[tag]}, self._cache.manifests, unread)
        return at in await ask(snapshot)

    @property
    def _has_written(self) -> bool:
        """Whether the registry has accepted a manifest in the target's repository."""
        is_put = any(each.action is ManifestAction.PUT for each in self.children.outcomes)
        return is_put or bool(self._index.was_put)

    async def _prove(self) -> None:
        """Prove that this push may write to the repository, without moving a tag."""
        await self._index.put_by_digest()

    async def _move(self, tag: str, lease: TagLease) -> None:
        try:
            action = await self._put(tag)
            lease.has_moved = True
        except BaseException:
            if tag in self._index.was_put:
                lease.has_moved = True
                # The tag has moved, even if a later step fails.
                finished = Finished(tag, TagAction.MOVED_UNVERIFIED)
                self._progress.add(StepName.TAGS, finished=(finished,))
            raise
        self._finish(tag, action)

    async def _put(self, target: str) -> TagAction:
        """Put the index. Without consent, it is an error if the index can't be read back."""
        unread = await self._index.put(target)
        if unread is None:
            return TagAction.MOVED
        if not self._allow_unverified:
            raise unread
        return TagAction.MOVED_UNVERIFIED

    def _finish(self, tag: str, action: TagAction) -> None:
        self._actions[tag] = action
        self._progress.finish(StepName.TAGS, tag, action)
