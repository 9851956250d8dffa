"""Copies a graph: blobs and children side by side, the index under its tags last, then read back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.oci.reference import Repository
from app.registry.access import Access
from app.registry.blob_copies import BlobCopies, BlobCounts
from app.registry.client import RegistryClient
from app.registry.errors import means_immutable, unwrap
from app.registry.limits import Limits
from app.registry.manifests import (
    NOT_YET_KNOWN,
    head_manifest,
    is_present,
    named,
    put_manifest,
    read_digest,
)
from app.registry.repository import Remote
from app.registry.retries import Outcome, plan_retry
from app.registry.scope import pushing
from app.registry.steps import Finished, Step, StepName, Steps
from app.registry.urls import api_host

__all__ = [
    "BlobCounts",
    "CopyChild",
    "CopyResult",
    "CopyTarget",
    "Finished",
    "ManifestAction",
    "PlacedManifest",
    "Step",
    "StepName",
    "TagAction",
    "push",
]


class ManifestAction(StrEnum):
    PUT = "put"
    PRESENT = "present"


class TagAction(StrEnum):
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class CopyTarget:
    """Where an index goes; without tags it goes under its own digest."""

    repository: Repository
    tags: tuple[str, ...]
    index: Manifest


@dataclass(frozen=True, slots=True)
class CopyChild:
    """A manifest of the index, where it is now, and the blobs that go with it."""

    source: Repository
    manifest: Manifest
    blobs: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class PlacedManifest:
    digest: Digest
    action: ManifestAction


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a push did; `previous` is what each tag held before, None for nothing."""

    manifests: tuple[PlacedManifest, ...]
    blobs: BlobCounts
    previous: Mapping[str, Digest | None]


# Given a tag's reference and what it holds; raises what the push is to fail with.
Condition = Callable[[str, Digest | None], None]
# Given what each tag holds that is about to be moved; raises to keep them unmoved.
BeforeTags = Callable[[Mapping[str, Digest | None]], Awaitable[None]]


def _ignore(_: Step) -> None:
    return None


async def push(
    client: RegistryClient,
    target: CopyTarget,
    children: Sequence[CopyChild],
    access: Access,
    on_progress: Callable[[Step], None] = _ignore,
    *,
    condition: Condition | None = None,
    before_tags: BeforeTags | None = None,
) -> CopyResult:
    """Brings an index and all that it lists to its target; readers see the old index or the new one whole.

    `condition` is asked about every tag right before the first one moves, and raises to keep them unmoved.
    `before_tags` is awaited once, after that and before any tag moves.
    """
    run = _Push(client, target, access, on_progress, condition=condition, before_tags=before_tags)
    try:
        return await run.perform(children)
    except BaseExceptionGroup as group:
        failure = unwrap(group)
        raise failure from failure.__cause__


class _Push:
    def __init__(
        self,
        client: RegistryClient,
        target: CopyTarget,
        access: Access,
        on_progress: Callable[[Step], None],
        *,
        condition: Condition | None,
        before_tags: BeforeTags | None,
    ) -> None:
        self._client = client
        self._condition = condition
        self._before_tags = before_tags
        self._target = target
        self._access = access
        self._remote = client.remote(target.repository, access)
        self._scopes = pushing(target.repository.path)
        self._progress = Steps(on_progress)
        self._blobs = BlobCopies(self._remote, self._progress, self._remote_of)
        self._children: dict[Digest, CopyChild] = {}
        self._seen: dict[Digest, float] = {}

    async def perform(self, children: Sequence[CopyChild]) -> CopyResult:
        self._children = self._distinct(children)
        for child in children:
            self._blobs.note_holder(child.source, child.blobs)
        wanted = list(self._children.values())
        self._progress.add(StepName.MANIFESTS, total=len(wanted))
        self._progress.add(StepName.TAGS, total=max(1, len(self._target.tags)))
        async with asyncio.TaskGroup() as group:
            holding = {tag: group.create_task(self._find_previous(tag)) for tag in self._target.tags}
            placed = [group.create_task(self._place(group, child)) for child in wanted]
        await self._look_again()
        previous = {tag: task.result() for tag, task in holding.items()}
        if self._condition is not None:
            previous = await self._check(self._condition)
        if self._before_tags is not None:
            await self._before_tags(previous)
        await self._put_index()
        return CopyResult(
            manifests=tuple(task.result() for task in placed),
            blobs=self._blobs.counts,
            previous=previous,
        )

    def _distinct(self, children: Sequence[CopyChild]) -> dict[Digest, CopyChild]:
        """Each manifest once; one that the target has already, as Docker sees it, before any other."""
        chosen: dict[Digest, CopyChild] = {}
        for child in children:
            digest = child.manifest.digest
            if digest not in chosen or child.source == self._target.repository:
                chosen[digest] = child
        return chosen

    async def _find_previous(self, tag: str) -> Digest | None:
        reference = self._target.repository.tagged(tag)
        try:
            descriptor = await head_manifest(self._remote, reference, scopes=self._scopes)
        except errors.RegistryDenied:
            # Some registries say this of a tag that does not exist; the PUT will show whether it is meant.
            return None
        return None if descriptor is None else descriptor.digest

    async def _check(self, condition: Condition) -> dict[str, Digest | None]:
        """What the tags hold is read again: by now the children are there, and others may have pushed."""
        held = {}
        for tag in self._target.tags:
            held[tag] = await read_digest(self._remote, tag, scopes=self._scopes)
            # An attempt that was cut off may have moved it already.
            if held[tag] != self._target.index.digest:
                condition(f"{self._target.repository}:{tag}", held[tag])
        return held

    async def _place(self, group: asyncio.TaskGroup, child: CopyChild) -> PlacedManifest:
        action = await self._bring(group, child)
        self._progress.finish(StepName.MANIFESTS, str(child.manifest.digest), action)
        return PlacedManifest(child.manifest.digest, action)

    async def _bring(
        self, group: asyncio.TaskGroup, child: CopyChild, *, is_doubted: bool = False
    ) -> ManifestAction:
        """Blobs first, then the manifest under its digest: never under the tag that readers follow.

        Even of the target's own children, since not every registry looks for them when it takes an index.
        """
        digest = child.manifest.digest
        action = ManifestAction.PRESENT
        if is_doubted or not await is_present(self._remote, digest, scopes=self._scopes):
            action = ManifestAction.PUT
            await self._blobs.bring(group, child.source, child.blobs)
            await self._put(str(digest), child.manifest)
        self._seen[digest] = asyncio.get_running_loop().time()
        return action

    async def _look_again(self) -> None:
        """Untagged manifests may be collected while large blobs are still on their way."""
        long_ago = asyncio.get_running_loop().time() - self._client.limits.fresh_seconds
        doubtful = [child for digest, child in self._children.items() if self._seen[digest] < long_ago]
        if doubtful:
            self._blobs.forget()
        async with asyncio.TaskGroup() as group:
            for child in doubtful:
                group.create_task(self._bring(group, child))

    async def _mend(self, error: errors.RegistryRejected) -> None:
        """Puts anew what the registry says that it lacks, whatever it said when it was asked for it."""
        missing = error.members.get("missing") or ()
        listed = [child for digest, child in self._children.items() if str(digest) in missing]
        async with asyncio.TaskGroup() as group:
            for child in listed or self._children.values():
                group.create_task(self._bring(group, child, is_doubted=True))

    def _remote_of(self, source: Repository) -> Remote:
        """Insecure ways asked for the target don't make another registry's TLS worse, or forbidden."""
        access = self._access
        if source.registry != self._target.repository.registry and access.insecure:
            may_be = self._client.policy.may_be_insecure(api_host(source.registry))
            access = replace(access, insecure=may_be)
        return self._client.remote(source, access)

    async def _put_index(self) -> None:
        """By digest first where there are several tags, so that all can only lead to the same bytes.

        One that fails does not cut the others off half-way: of each is known then whether it has moved.
        """
        tags, digest = self._target.tags, str(self._target.index.digest)
        if len(tags) > 1:
            await self._put_and_verify(digest)
        async with asyncio.TaskGroup() as group:
            moves = [group.create_task(self._move(tag)) for tag in tags or [digest]]
        failures = [failure for move in moves if (failure := move.result()) is not None]
        if failures:
            raise failures[0]

    async def _move(self, target: str) -> errors.BrokerError | None:
        # A failure is a value here: raised, it would cancel those beside it.
        try:
            await self._put_and_verify(target)
        except errors.BrokerError as failure:
            return failure
        self._progress.finish(StepName.TAGS, target, TagAction.MOVED)
        return None

    async def _put_and_verify(self, target: str) -> None:
        """A PUT whose answer was lost, or that a rule refuses for what is there already, may have succeeded.

        What a reader gets decides, and it is read by GET: HEAD is answered from caches.
        """
        try:
            await self._put(target, self._target.index)
        except errors.RegistryError as error:
            if not await self._holds_index(target):
                raise self._refused(error, target) from error
        else:
            await self._verify(target)

    async def _put(self, target: str, manifest: Manifest) -> None:
        attempt = 1
        while True:
            try:
                return await put_manifest(self._remote, target, manifest)
            except errors.RegistryRejected as error:
                may_pass = error.members.get("upstream_code") in NOT_YET_KNOWN
                if not await self._wait(attempt, may_pass=may_pass, limits=self._patience):
                    raise
                if manifest is self._target.index:
                    await self._mend(error)
            attempt += 1

    async def _verify(self, target: str) -> None:
        wanted = self._target.index.digest
        attempt = 1
        while (found := await read_digest(self._remote, target, scopes=self._scopes)) != wanted:
            if not await self._wait(attempt, may_pass=True, limits=self._client.limits):
                raise errors.PushNotVerified(
                    f"{named(self._remote, target)} was put as {wanted}, but gives {found or 'nothing'}",
                    **self._remote.subject(named(self._remote, target)).members,
                )
            attempt += 1

    async def _holds_index(self, target: str) -> bool:
        try:
            found = await read_digest(self._remote, target, scopes=self._scopes)
        except errors.BrokerError:
            return False
        return found == self._target.index.digest

    def _refused(self, error: errors.RegistryError, target: str) -> errors.RegistryError:
        if not means_immutable(error):
            return error
        return errors.TagImmutable(
            f"{named(self._remote, target)} may not be moved and holds something else: {error.detail}",
            **error.members,
        )

    @property
    def _patience(self) -> Limits:
        """For a registry that has taken something and needs a while until it knows it."""
        limits = self._client.limits
        return replace(
            limits,
            attempts=limits.settle_attempts,
            backoff_seconds=limits.settle_seconds,
            longest_backoff_seconds=limits.longest_settle_seconds,
        )

    async def _wait(self, attempt: int, *, may_pass: bool, limits: Limits) -> bool:
        wait = plan_retry(
            Outcome(may_pass),
            attempt=attempt,
            spent=0.0,
            jitter=random.random(),  # noqa: S311 - spreads retries, protects nothing
            limits=limits,
        )
        if wait is not None:
            await asyncio.sleep(wait)
        return wait is not None
