"""Copies a graph: blobs and children side by side, the index under its tags last, then read back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.oci.reference import Repository
from app.registry.access import Access
from app.registry.blobs import BlobAction, copy_blob
from app.registry.client import RegistryClient
from app.registry.errors import means_immutable, unwrap
from app.registry.manifests import head_manifest, is_present, named, put_manifest, read_digest
from app.registry.repository import Remote
from app.registry.retries import Outcome, plan_retry
from app.registry.scope import pushing
from app.registry.urls import api_host

__all__ = [
    "BlobCounts",
    "CopyChild",
    "CopyResult",
    "CopyTarget",
    "ManifestAction",
    "PlacedManifest",
    "Step",
    "StepName",
    "push",
]

# A registry may take a moment until it knows the blobs that it has just accepted.
_NOT_YET_KNOWN = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})


class ManifestAction(StrEnum):
    PUT = "put"
    PRESENT = "present"


class StepName(StrEnum):
    """The parts of a push, in the order in which they end."""

    BLOBS = "blobs"
    MANIFESTS = "manifests"
    TAGS = "tags"


@dataclass(frozen=True, slots=True)
class Step:
    """How far one part of a push is; totals grow while children are still being looked up."""

    name: StepName
    done: int
    total: int
    bytes_done: int = 0
    bytes_total: int = 0


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
class BlobCounts:
    mounted: int = 0
    copied: int = 0
    skipped: int = 0
    bytes_copied: int = 0


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a push did; `previous` is what each tag held before, None for nothing."""

    manifests: tuple[PlacedManifest, ...]
    blobs: BlobCounts
    previous: Mapping[str, Digest | None]


# Given a tag's reference and what it holds; raises what the push is to fail with.
Condition = Callable[[str, Digest | None], None]


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
) -> CopyResult:
    """Brings an index and all that it lists to its target; readers see the old index or the new one whole.

    `condition` is asked about every tag right before the first one moves, and raises to keep them unmoved.
    """
    run = _Push(client, target, access, on_progress, condition)
    try:
        return await run.perform(children)
    except BaseExceptionGroup as group:
        failure = unwrap(group)
        raise failure from failure.__cause__


@dataclass(slots=True)
class _Progress:
    """Counts, and tells of each change."""

    tell: Callable[[Step], None]
    steps: dict[StepName, Step] = field(default_factory=dict)

    def add(
        self, name: StepName, *, done: int = 0, total: int = 0, bytes_done: int = 0, bytes_total: int = 0
    ) -> None:
        step = self.steps.get(name, Step(name, 0, 0))
        step = Step(
            name,
            step.done + done,
            step.total + total,
            step.bytes_done + bytes_done,
            step.bytes_total + bytes_total,
        )
        self.steps[name] = step
        self.tell(step)


class _Push:
    def __init__(
        self,
        client: RegistryClient,
        target: CopyTarget,
        access: Access,
        on_progress: Callable[[Step], None],
        condition: Condition | None,
    ) -> None:
        self._client = client
        self._condition = condition
        self._target = target
        self._access = access
        self._remote = client.remote(target.repository, access)
        self._scopes = pushing(target.repository.path)
        self._progress = _Progress(on_progress)
        self._blobs: dict[Digest, asyncio.Task[None]] = {}
        self._counts = BlobCounts()

    async def perform(self, children: Sequence[CopyChild]) -> CopyResult:
        wanted = self._distinct(children)
        self._progress.add(StepName.MANIFESTS, total=len(wanted))
        self._progress.add(StepName.TAGS, total=max(1, len(self._target.tags)))
        async with asyncio.TaskGroup() as group:
            previous = {tag: group.create_task(self._find_previous(tag)) for tag in self._target.tags}
            placed = [group.create_task(self._place(group, child)) for child in wanted]
        if self._condition is not None:
            await self._check(self._condition)
        await self._put_index()
        return CopyResult(
            manifests=tuple(task.result() for task in placed),
            blobs=self._counts,
            previous={tag: task.result() for tag, task in previous.items()},
        )

    def _distinct(self, children: Sequence[CopyChild]) -> list[CopyChild]:
        """Each manifest once; one that the target has already, as Docker sees it, before any other."""
        chosen: dict[Digest, CopyChild] = {}
        for child in children:
            digest = child.manifest.digest
            if digest not in chosen or child.source == self._target.repository:
                chosen[digest] = child
        return list(chosen.values())

    async def _find_previous(self, tag: str) -> Digest | None:
        reference = self._target.repository.tagged(tag)
        try:
            descriptor = await head_manifest(self._remote, reference, scopes=self._scopes)
        except errors.RegistryDenied:
            # Some registries say this of a tag that does not exist; the PUT will show whether it is meant.
            return None
        return None if descriptor is None else descriptor.digest

    async def _check(self, condition: Condition) -> None:
        """What the tags hold is read again: by now the children are there, and others may have pushed."""
        for tag in self._target.tags:
            held = await read_digest(self._remote, tag, scopes=self._scopes)
            # An attempt that was cut off may have moved it already.
            if held != self._target.index.digest:
                condition(f"{self._target.repository}:{tag}", held)

    async def _place(self, group: asyncio.TaskGroup, child: CopyChild) -> PlacedManifest:
        """Blobs first, then the manifest under its digest: never under the tag that readers follow."""
        digest = child.manifest.digest
        is_own = child.source == self._target.repository
        if is_own or await is_present(self._remote, digest, scopes=self._scopes):
            self._progress.add(StepName.MANIFESTS, done=1)
            return PlacedManifest(digest, ManifestAction.PRESENT)
        for task in [self._start_blob(group, child, blob) for blob in child.blobs]:
            await task
        await self._put(str(digest), child.manifest)
        self._progress.add(StepName.MANIFESTS, done=1)
        return PlacedManifest(digest, ManifestAction.PUT)

    def _start_blob(self, group: asyncio.TaskGroup, child: CopyChild, blob: Descriptor) -> asyncio.Task[None]:
        task = self._blobs.get(blob.digest)
        if task is None:
            self._progress.add(StepName.BLOBS, total=1, bytes_total=blob.size)
            source = self._client.remote(child.source, self._access_to(child.source))
            task = self._blobs[blob.digest] = group.create_task(self._copy_blob(source, blob))
        return task

    def _access_to(self, source: Repository) -> Access:
        """Insecure ways asked for the target don't make another registry's TLS worse, or forbidden."""
        if source.registry == self._target.repository.registry or not self._access.insecure:
            return self._access
        return replace(self._access, insecure=self._client.policy.may_be_insecure(api_host(source.registry)))

    async def _copy_blob(self, source: Remote, blob: Descriptor) -> None:
        moved = 0

        def on_bytes(size: int) -> None:
            nonlocal moved
            # What is sent again after trouble is no progress.
            step = max(0, min(size, blob.size - moved))
            moved += step
            self._progress.add(StepName.BLOBS, bytes_done=step)

        action = await copy_blob(source, self._remote, blob, on_bytes=on_bytes)
        self._count(action, blob)
        self._progress.add(StepName.BLOBS, done=1, bytes_done=blob.size - moved)

    def _count(self, action: BlobAction, blob: Descriptor) -> None:
        counts = self._counts
        match action:
            case BlobAction.MOUNTED:
                self._counts = replace(counts, mounted=counts.mounted + 1)
            case BlobAction.SKIPPED:
                self._counts = replace(counts, skipped=counts.skipped + 1)
            case BlobAction.COPIED:
                bytes_copied = counts.bytes_copied + blob.size
                self._counts = replace(counts, copied=counts.copied + 1, bytes_copied=bytes_copied)

    async def _put_index(self) -> None:
        """By digest first where there are several tags, so that all can only lead to the same bytes."""
        tags, digest = self._target.tags, str(self._target.index.digest)
        if len(tags) != 1:
            await self._put_and_verify(digest)
        async with asyncio.TaskGroup() as group:
            for tag in tags:
                group.create_task(self._put_and_verify(tag))
        if not tags:
            self._progress.add(StepName.TAGS, done=1)

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
        if target in self._target.tags:
            self._progress.add(StepName.TAGS, done=1)

    async def _put(self, target: str, manifest: Manifest) -> None:
        attempt = 1
        while True:
            try:
                return await put_manifest(self._remote, target, manifest)
            except errors.RegistryRejected as error:
                may_pass = error.members.get("upstream_code") in _NOT_YET_KNOWN
                if not await self._wait(attempt, may_pass=may_pass):
                    raise
            attempt += 1

    async def _verify(self, target: str) -> None:
        wanted = self._target.index.digest
        attempt = 1
        while (found := await read_digest(self._remote, target, scopes=self._scopes)) != wanted:
            if not await self._wait(attempt, may_pass=True):
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

    async def _wait(self, attempt: int, *, may_pass: bool) -> bool:
        wait = plan_retry(
            Outcome(may_pass),
            attempt=attempt,
            spent=0.0,
            jitter=random.random(),  # noqa: S311 - spreads retries, protects nothing
            limits=self._client.limits,
        )
        if wait is not None:
            await asyncio.sleep(wait)
        return wait is not None
