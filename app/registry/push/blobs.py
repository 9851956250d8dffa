"""The blobs of a push: each digest is skipped, mounted or copied once for all images that have it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from app import errors
from app.concurrency.largest_first import LargestFirstSemaphore
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.reference import Repository
from app.outbound.url import with_query
from app.registry.auth.scope import mounting
from app.registry.capabilities import MountSupport, RepositoryCapabilities
from app.registry.content.upload import Upload, accepted_upload, has_blob, upload_refusal
from app.registry.error_bodies import is_rate_limit, may_pass
from app.registry.push.body_sizes import BodySizes
from app.registry.push.model import BlobAction, BlobCounts, BlobOutcome, StepName, TargetProgress
from app.registry.push.settle import Repair
from app.registry.push.stall_watch import Activity
from app.registry.push.transfer import Transfer
from app.registry.repository import RemoteRepository

__all__ = ["BlobCopies", "BlobCopy", "BlobPlan", "copy_blob", "plan_blob", "predict_blob"]

_CREATED, _ACCEPTED = 201, 202
_UNAUTHORIZED = 401
# A mount refused with these is about the two repositories, not about the registry.
_ABOUT_THE_SOURCE = frozenset({401, 403, 404})
_SUPPORT_BY_STATUS = {_CREATED: MountSupport.GRANTED, _ACCEPTED: MountSupport.DECLINED}
_MOST_CANDIDATES = 3
_REPORTED_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BlobCopy:
    """A blob to copy from one repository to another.

    `holders` are repositories of the target's registry that have it. `is_doubted` means that the registry
    reported the blob as present and then lacked it.
    """

    source: RemoteRepository
    blob: Descriptor
    holders: Sequence[Repository]
    slots: LargestFirstSemaphore
    on_position: Callable[[int], None]
    activity: Activity
    is_doubted: bool = False


class BlobCopies:
    """Starts copies as images need them; of those that wait for a slot, the largest goes first."""

    def __init__(
        self,
        target: RemoteRepository,
        progress: TargetProgress,
        remote_of: Callable[[Repository], RemoteRepository],
        copy_one: Callable[[BlobCopy], Awaitable[BlobOutcome]],
        activity: Activity,
    ) -> None:
        self._target = target
        self._progress = progress
        self._copy_one = copy_one
        self._activity = activity
        self._remote_of = remote_of
        self._slots = LargestFirstSemaphore(target.state.limits.transfers)
        self._holders: dict[Digest, list[Repository]] = {}
        self._tasks: dict[Digest, asyncio.Task[None]] = {}
        self._positions: dict[Digest, int] = {}
        self._outcomes: dict[Digest, BlobOutcome] = {}
        self._recopies: dict[Digest, asyncio.Task[None]] = {}

    @property
    def counts(self) -> BlobCounts:
        actions = [blob.action for blob in self.outcomes]
        return BlobCounts(
            mounted=actions.count(BlobAction.MOUNTED),
            copied=actions.count(BlobAction.COPIED),
            skipped=actions.count(BlobAction.SKIPPED),
            bytes_copied=sum(blob.size for blob in self.outcomes if blob.action is BlobAction.COPIED),
        )

    @property
    def outcomes(self) -> tuple[BlobOutcome, ...]:
        return tuple(self._outcomes.values())

    def add_holder(self, holder: Repository, blobs: Iterable[Descriptor]) -> None:
        """Add a repository that has these blobs: within the target's registry they may be mounted."""
        if holder.registry != self._target.registry or holder == self._target.repository:
            return
        for blob in blobs:
            known = self._holders.setdefault(blob.digest, [])
            if holder not in known:
                known.append(holder)

    async def copy(self, group: asyncio.TaskGroup, source: Repository, blobs: Iterable[Descriptor]) -> None:
        """Return when all blobs of an image are in the target."""
        ordered = sorted(blobs, key=lambda blob: blob.size, reverse=True)
        for task in [self._start(group, source, blob) for blob in ordered]:
            await task

    def repair_for(self, group: asyncio.TaskGroup, source: Repository, blobs: Iterable[Descriptor]) -> Repair:
        """The repair for the PUT of an image: copy blobs that the registry reported and then lacks.

        Blobs that the registry has taken in whole need only time. The first call only waits for the
        others too, since the registry may not know them yet.
        """
        waited = False

        async def repair(error: errors.RegistryRejected) -> None:
            nonlocal waited
            missing = error.missing_digests or [str(blob.digest) for blob in blobs]
            doubted = [blob for blob in blobs if str(blob.digest) in missing and self._was_believed(blob)]
            if waited and source != self._target.repository:
                for task in [self._recopy(group, source, blob) for blob in doubted]:
                    await task
            waited = True

        return repair

    def forget(self) -> None:
        """Check each blob again when an image next needs it: it may have been deleted since."""
        self._tasks.clear()

    def _start(self, group: asyncio.TaskGroup, source: Repository, blob: Descriptor) -> asyncio.Task[None]:
        task = self._tasks.get(blob.digest)
        if task is None:
            if blob.digest not in self._positions:
                self._positions[blob.digest] = 0
                self._progress.add(StepName.BLOBS, total=1, bytes_total=blob.size)
            task = self._tasks[blob.digest] = group.create_task(self._copy(source, blob))
        return task

    def _was_believed(self, blob: Descriptor) -> bool:
        outcome = self._outcomes.get(blob.digest)
        return blob.digest in self._recopies or (
            outcome is not None and outcome.action is not BlobAction.COPIED
        )

    def _recopy(self, group: asyncio.TaskGroup, source: Repository, blob: Descriptor) -> asyncio.Task[None]:
        """Copy again, once: a registry that lost the bytes twice will lose them again."""
        task = self._recopies.get(blob.digest)
        if task is None:
            task = self._recopies[blob.digest] = group.create_task(self._copy(source, blob, is_doubted=True))
        return task

    async def _copy(self, source: Repository, blob: Descriptor, *, is_doubted: bool = False) -> None:
        def on_position(position: int) -> None:
            # Bytes that are sent again are not progress, and small steps are not worth a
            # report.
            step = position - self._positions[blob.digest]
            if step >= _REPORTED_BYTES or (position == blob.size and step > 0):
                self._positions[blob.digest] = position
                self._progress.add(StepName.BLOBS, bytes_done=step)

        remote, holders = self._remote_of(source), self._holders_of(blob, source)
        copy = BlobCopy(remote, blob, holders, self._slots, on_position, self._activity, is_doubted)
        outcome = await self._copy_one(copy)
        if outcome.action is BlobAction.COPIED:
            for holder in holders:
                self._target.state.pushed_blobs.forget(self._target.access.tenant, holder, blob.digest)
        on_position(blob.size)
        if blob.digest not in self._outcomes:
            self._progress.add(StepName.BLOBS, done=1)
        if is_doubted or blob.digest not in self._outcomes:
            self._outcomes[blob.digest] = outcome

    def _holders_of(self, blob: Descriptor, source: Repository) -> list[Repository]:
        """The holders of a blob, the image's source first; if there are none, a hint from an earlier push."""
        holders = self._holders.get(blob.digest, [])
        here = self._target
        if not holders and source != here.repository:
            pushed = here.state.pushed_blobs.find(here.access.tenant, here.registry, blob.digest)
            return [] if pushed is None or pushed == here.repository else [pushed]
        return sorted(holders, key=lambda holder: holder != source)


@dataclass(frozen=True, slots=True)
class BlobPlan:
    """What to ask first: whether the registry has the blob, or each holder in turn for a mount."""

    looks_first: bool
    holders: tuple[Repository, ...]


def plan_blob(holders: Sequence[Repository], support_of: Callable[[Repository], MountSupport]) -> BlobPlan:
    """Plan the requests for a blob.

    `holders` are repositories of the target's registry that have the blob. A mount comes first: it is one
    request, where a lookup and a mount are two. If the registry does not mount, a lookup comes first.
    """
    supports = {holder: support_of(holder) for holder in holders}
    may_mount = MountSupport.GRANTED in supports.values()
    # If the registry usually declines mounts, one request gets the upload that is needed anyway.
    asked = holders[: _MOST_CANDIDATES if may_mount else 1]
    return BlobPlan(
        looks_first=not may_mount,
        holders=tuple(each for each in asked if supports[each] is not MountSupport.REFUSED),
    )


async def copy_blob(copy: BlobCopy, target: RemoteRepository) -> BlobOutcome:
    """Copy a blob: mount it within a registry, else stream it.

    A lookup always precedes streaming, unless the registry's answers are doubted.
    """
    blob = copy.blob
    lock = target.lock_for(str(blob.digest))
    is_first = not lock.locked()
    async with lock:
        # Another push of this process has just brought the blob, or has tried to.
        if not is_first and not copy.is_doubted and await has_blob(target, blob):
            return BlobOutcome(blob.digest, blob.size, BlobAction.SKIPPED)
        return await _bring(copy, target)


async def _bring(copy: BlobCopy, target: RemoteRepository) -> BlobOutcome:
    blob, capabilities = copy.blob, await target.capabilities()

    async def stream(upload: Upload | None) -> BlobOutcome:
        sizes = BodySizes(capabilities, target.state.limits)
        async with copy.slots.slot(blob.size):
            transfer = Transfer(copy.source, target, blob, copy.on_position, sizes, activity=copy.activity)
            await transfer.perform(upload)
        return BlobOutcome(blob.digest, blob.size, BlobAction.COPIED, copy.source.repository)

    if copy.is_doubted:
        return await stream(None)
    skipped = BlobOutcome(blob.digest, blob.size, BlobAction.SKIPPED)
    plan = plan_blob(copy.holders, lambda holder: capabilities.mount_support(holder.path))
    if plan.looks_first and await has_blob(target, blob):
        return skipped
    holder, upload = await _mount(plan.holders, target, blob, capabilities)
    if holder is not None:
        return BlobOutcome(blob.digest, blob.size, BlobAction.MOUNTED, holder)
    if not plan.looks_first and await has_blob(target, blob):
        if upload is not None:
            await upload.cancel()
        return skipped
    return await stream(upload)


async def predict_blob(copy: BlobCopy, target: RemoteRepository) -> BlobOutcome:
    """Predict the outcome of `copy_blob` with reads alone; a mount counts as granted."""
    blob, source = copy.blob, copy.source.repository
    capabilities = await target.capabilities()
    plan = plan_blob(copy.holders, lambda holder: capabilities.mount_support(holder.path))
    if not plan.looks_first:
        granted = (
            each for each in plan.holders if capabilities.mount_support(each.path) is MountSupport.GRANTED
        )
        holder = next(granted, plan.holders[0])
        return BlobOutcome(blob.digest, blob.size, BlobAction.MOUNTED, holder)
    if await has_blob(target, blob):
        return BlobOutcome(blob.digest, blob.size, BlobAction.SKIPPED)
    if source == target.repository:
        raise errors.SourceNotFound(
            f"{target.repository} does not have {blob.digest}, which an image there needs.",
            **target.context().members,
        )
    return BlobOutcome(blob.digest, blob.size, BlobAction.COPIED, source)


async def _mount(
    holders: Sequence[Repository],
    target: RemoteRepository,
    blob: Descriptor,
    capabilities: RepositoryCapabilities,
) -> tuple[Repository | None, Upload | None]:
    """Mount from the first holder that works; otherwise return the upload that the registry opened."""
    upload = None
    for holder in holders:
        # The mount of another blob may have been refused since the plan was made.
        if capabilities.mount_support(holder.path) is MountSupport.REFUSED:
            continue
        try:
            support, opened = await _mount_from(holder, target, blob, capabilities)
        except errors.RateLimited:
            raise
        except errors.BrokerError:
            # A mount only saves work. Another might take as long to fail, so the blob is
            # uploaded.
            capabilities.record_mount(MountSupport.REFUSED, holder.path, only_this_source=True)
            break
        if upload is not None and (opened is not None or support is MountSupport.GRANTED):
            await upload.cancel()
        if support is MountSupport.GRANTED:
            return holder, None
        upload = opened or upload
    return None, upload


async def _mount_from(
    source: Repository,
    target: RemoteRepository,
    blob: Descriptor,
    capabilities: RepositoryCapabilities,
) -> tuple[MountSupport, Upload | None]:
    """The answer to a mount request, and the upload that a registry opens when it declines.

    Distribution spec, "Mounting a blob from another repository": 201 mounted, 202 upload it here.
    """
    scopes = mounting(target.path, source.path)
    query = [("mount", str(blob.digest)), ("from", source.path)]
    status = _UNAUTHORIZED
    upload = None
    # The token service may refuse the pair of rights, as the registry may; then the blob is copied.
    with contextlib.suppress(errors.RegistryDenied):
        request = await target.build_request("POST", target.uploads_path, scopes)
        request = replace(request, url=with_query(request.url, query))
        answer = await target.call(request, scopes)
        status = answer.status
        what = status, answer.body, target.context()
        if may_pass(*what) or is_rate_limit(*what):
            raise upload_refusal(target, answer, f"the mount of {blob.digest} from {source.path}")
        upload = accepted_upload(target, request, answer) if status == _ACCEPTED else None
    support = _SUPPORT_BY_STATUS.get(status, MountSupport.REFUSED)
    capabilities.record_mount(support, source.path, only_this_source=status in _ABOUT_THE_SOURCE)
    return support, upload
