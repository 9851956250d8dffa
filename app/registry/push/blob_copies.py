"""The blobs of one push: each digest brought to the target once, however many images have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app import errors
from app.concurrency.largest_first import LargestFirstSemaphore
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.reference import Repository
from app.registry.push.blobs import BlobAction
from app.registry.push.hands import Hands
from app.registry.push.settle import Mend
from app.registry.push.steps import StepName, Steps
from app.registry.repository import Remote

__all__ = ["BlobCopies", "BlobCounts", "BroughtBlob"]

_TOLD_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BlobCounts:
    mounted: int = 0
    copied: int = 0
    skipped: int = 0
    bytes_copied: int = 0


@dataclass(frozen=True, slots=True)
class BroughtBlob:
    """How a blob came to be at a target, and from where, if it was not there already."""

    digest: Digest
    size: int
    action: BlobAction
    source: Repository | None = None


class BlobCopies:
    """Begun as images ask for them, the largest first of those that wait."""

    def __init__(
        self, target: Remote, steps: Steps, remote_of: Callable[[Repository], Remote], hands: Hands
    ) -> None:
        self._target = target
        self._steps = steps
        self._hands = hands
        self._remote_of = remote_of
        self._turns = LargestFirstSemaphore(target.services.limits.transfers)
        self._holders: dict[Digest, list[Repository]] = {}
        self._tasks: dict[Digest, asyncio.Task[None]] = {}
        self._positions: dict[Digest, int] = {}
        self._done: dict[Digest, BroughtBlob] = {}
        self._renewing: dict[Digest, asyncio.Task[None]] = {}

    @property
    def counts(self) -> BlobCounts:
        actions = [blob.action for blob in self.brought]
        return BlobCounts(
            mounted=actions.count(BlobAction.MOUNTED),
            copied=actions.count(BlobAction.COPIED),
            skipped=actions.count(BlobAction.SKIPPED),
            bytes_copied=sum(blob.size for blob in self.brought if blob.action is BlobAction.COPIED),
        )

    @property
    def brought(self) -> tuple[BroughtBlob, ...]:
        return tuple(self._done.values())

    def note_holder(self, holder: Repository, blobs: Iterable[Descriptor]) -> None:
        """A repository whose manifest has these blobs: within the target's registry they may be mounted."""
        if holder.registry != self._target.registry or holder == self._target.repository:
            return
        for blob in blobs:
            known = self._holders.setdefault(blob.digest, [])
            if holder not in known:
                known.append(holder)

    async def bring(self, group: asyncio.TaskGroup, source: Repository, blobs: Iterable[Descriptor]) -> None:
        """All blobs of an image; returns when they are there."""
        ordered = sorted(blobs, key=lambda blob: blob.size, reverse=True)
        for task in [self._start(group, source, blob) for blob in ordered]:
            await task

    def mender(self, group: asyncio.TaskGroup, source: Repository, blobs: Iterable[Descriptor]) -> Mend:
        """For the PUT of the image: what the registry said was there, and then lacks, is sent to it.

        What it has taken in whole is only waited for, and at first so is the rest: it may not know it yet.
        """
        waited = False

        async def mend(error: errors.RegistryRejected) -> None:
            nonlocal waited
            missing = error.missing_digests or [str(blob.digest) for blob in blobs]
            doubted = [blob for blob in blobs if str(blob.digest) in missing and self._was_believed(blob)]
            if waited and source != self._target.repository:
                for task in [self._renew(group, source, blob) for blob in doubted]:
                    await task
            waited = True

        return mend

    def forget(self) -> None:
        """What was brought may be gone again: who asks from now on has it looked after anew."""
        self._tasks.clear()

    def _start(self, group: asyncio.TaskGroup, source: Repository, blob: Descriptor) -> asyncio.Task[None]:
        task = self._tasks.get(blob.digest)
        if task is None:
            if blob.digest not in self._positions:
                self._positions[blob.digest] = 0
                self._steps.add(StepName.BLOBS, total=1, bytes_total=blob.size)
            task = self._tasks[blob.digest] = group.create_task(self._copy(source, blob))
        return task

    def _was_believed(self, blob: Descriptor) -> bool:
        brought = self._done.get(blob.digest)
        return blob.digest in self._renewing or (
            brought is not None and brought.action is not BlobAction.COPIED
        )

    def _renew(self, group: asyncio.TaskGroup, source: Repository, blob: Descriptor) -> asyncio.Task[None]:
        """Once: who takes the bytes twice and then lacks them will not keep them the third time."""
        task = self._renewing.get(blob.digest)
        if task is None:
            task = self._renewing[blob.digest] = group.create_task(self._copy(source, blob, is_doubted=True))
        return task

    async def _copy(self, source: Repository, blob: Descriptor, *, is_doubted: bool = False) -> None:
        def on_position(position: int) -> None:
            # What is sent again after trouble is no progress, and not each packet is worth telling of.
            step = position - self._positions[blob.digest]
            if step >= _TOLD_BYTES or (position == blob.size and step > 0):
                self._positions[blob.digest] = position
                self._steps.add(StepName.BLOBS, bytes_done=step)

        outcome = await self._hands.bring_blob(
            self._remote_of(source),
            self._target,
            blob,
            holders=self._holders_of(blob, source),
            turns=self._turns,
            on_position=on_position,
            is_doubted=is_doubted,
        )
        on_position(blob.size)
        if blob.digest not in self._done:
            self._steps.add(StepName.BLOBS, done=1)
        if is_doubted or blob.digest not in self._done:
            self._done[blob.digest] = BroughtBlob(blob.digest, blob.size, outcome.action, outcome.source)

    def _holders_of(self, blob: Descriptor, source: Repository) -> list[Repository]:
        """The image's own source before others."""
        holders = self._holders.get(blob.digest, [])
        return sorted(holders, key=lambda holder: holder != source)
