"""Blobs that come from another repository: skipped, mounted or copied."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from app import errors
from app.concurrency.largest_first import LargestFirstSemaphore
from app.oci.descriptor import Descriptor
from app.oci.reference import Repository
from app.outbound.failures import is_rate_limit
from app.outbound.retry import is_passing
from app.outbound.url import with_query
from app.registry.auth.scope import mounting
from app.registry.content.upload import Upload, accepted_upload, has_blob, upload_refusal
from app.registry.mounts import Standing
from app.registry.paths import uploads_path
from app.registry.push.transfer import Transfer
from app.registry.repository import Remote

__all__ = ["BlobAction", "BlobOutcome", "BlobPlan", "copy_blob", "foresee_blob", "plan_blob"]

_CREATED, _ACCEPTED = 201, 202
_UNAUTHORIZED = 401
# A mount refused so says something of these two repositories, not of the registry.
_ABOUT_THE_SOURCE = frozenset({401, 403, 404})
_MOST_CANDIDATES = 3


class BlobAction(StrEnum):
    """How a blob came to be in the target repository."""

    MOUNTED = "mounted"
    COPIED = "copied"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class BlobOutcome:
    """`source` is where it was mounted or copied from, None where it was there already."""

    action: BlobAction
    source: Repository | None = None


@dataclass(frozen=True, slots=True)
class BlobPlan:
    """What is asked first: the registry whether it has the blob, or, in their order, holders for a mount."""

    looks_first: bool
    holders: tuple[Repository, ...]


def plan_blob(holders: Sequence[Repository], standing_of: Callable[[Repository], Standing]) -> BlobPlan:
    """`holders` are repositories of the target's registry that are known to hold a blob.

    A mount is asked for at once: one request where looking first would be two. On a registry that was seen to
    not mount it is worth while to look first whether the blob is there already.
    """
    standings = {holder: standing_of(holder) for holder in holders}
    may_mount = Standing.MOUNTS in standings.values()
    # Where mounts are declined as a rule, one question gets an upload as good as several would.
    asked = holders[: _MOST_CANDIDATES if may_mount else 1]
    return BlobPlan(
        looks_first=not may_mount,
        holders=tuple(each for each in asked if standings[each] is not Standing.REFUSES),
    )


async def copy_blob(
    source: Remote,
    target: Remote,
    blob: Descriptor,
    *,
    holders: Sequence[Repository],
    turns: LargestFirstSemaphore,
    on_position: Callable[[int], None],
    is_doubted: bool = False,
) -> BlobOutcome:
    """Makes a blob of one repository be in another: by mount within a registry, else by streaming.

    Before it is copied it is always looked for; but what the registry says of one that `is_doubted` has been
    found wrong.
    """

    async def stream(upload: Upload | None) -> BlobOutcome:
        async with turns.slot(blob.size):
            await Transfer(source, target, blob, on_position).perform(upload)
        return BlobOutcome(BlobAction.COPIED, source.repository)

    if is_doubted:
        return await stream(None)
    plan = plan_blob(holders, lambda holder: _standing(holder, target))
    if plan.looks_first and await has_blob(target, blob):
        return BlobOutcome(BlobAction.SKIPPED)
    holder, upload = await _mount(plan.holders, target, blob)
    if holder is not None:
        return BlobOutcome(BlobAction.MOUNTED, holder)
    if not plan.looks_first and await has_blob(target, blob):
        if upload is not None:
            await upload.cancel()
        return BlobOutcome(BlobAction.SKIPPED)
    return await stream(upload)


async def foresee_blob(
    source: Remote,
    target: Remote,
    blob: Descriptor,
    *,
    holders: Sequence[Repository],
    **_: object,
) -> BlobOutcome:
    """What `copy_blob` would come to, by nothing but looking; a mount is believed to be granted."""
    plan = plan_blob(holders, lambda holder: _standing(holder, target))
    if not plan.looks_first:
        may_mount = (each for each in plan.holders if _standing(each, target) is Standing.MOUNTS)
        return BlobOutcome(BlobAction.MOUNTED, next(may_mount, plan.holders[0]))
    if await has_blob(target, blob):
        return BlobOutcome(BlobAction.SKIPPED)
    if source.repository == target.repository:
        raise errors.SourceNotFound(
            f"{target.repository} does not have {blob.digest}, which an image there needs",
            **target.context().members,
        )
    return BlobOutcome(BlobAction.COPIED, source.repository)


def _standing(holder: Repository, target: Remote) -> Standing:
    return target.services.mounts.of(target.registry, holder.path, target.path)


async def _mount(
    holders: Sequence[Repository], target: Remote, blob: Descriptor
) -> tuple[Repository | None, Upload | None]:
    """The first that lets it be; where none does, the upload that the registry opened instead."""
    upload = None
    for holder in holders:
        # What came of another blob's mount may have taught better since this was planned.
        if _standing(holder, target) is Standing.REFUSES:
            continue
        try:
            standing, opened = await _mount_from(holder, target, blob)
        except errors.RateLimited:
            raise
        except errors.BrokerError:
            # A mount only saves work. Another might take as long to fail, so the blob is uploaded.
            _note(Standing.REFUSES, holder, target, only_these=True)
            break
        if upload is not None and (opened is not None or standing is Standing.MOUNTS):
            await upload.cancel()
        if standing is Standing.MOUNTS:
            return holder, None
        upload = opened or upload
    return None, upload


async def _mount_from(source: Repository, target: Remote, blob: Descriptor) -> tuple[Standing, Upload | None]:
    """What came of asking for a mount, and the upload that a registry opens when it declines.

    Distribution spec, "Mounting a blob from another repository": 201 mounted, 202 upload it here.
    """
    scopes = mounting(target.path, source.path)
    query = [("mount", str(blob.digest)), ("from", source.path)]
    status = _UNAUTHORIZED
    upload = None
    # A token service may refuse the pair of rights as the registry may: the blob is copied then.
    with contextlib.suppress(errors.RegistryDenied):
        request = await target.prepare("POST", uploads_path(target.path), scopes, is_raw=True)
        request = replace(request, url=with_query(request.url, query))
        answer = await target.call(request, scopes)
        status = answer.status
        if is_passing(status) or is_rate_limit(status, answer.body, target.context()):
            raise upload_refusal(target, answer, f"the mount of {blob.digest} from {source.path}")
        upload = accepted_upload(target, request, answer) if status == _ACCEPTED else None
    standing = {_CREATED: Standing.MOUNTS, _ACCEPTED: Standing.DECLINES}.get(status, Standing.REFUSES)
    _note(standing, source, target, only_these=status in _ABOUT_THE_SOURCE)
    return standing, upload


def _note(standing: Standing, source: Repository, target: Remote, *, only_these: bool) -> None:
    memory = target.services.mounts
    memory.note(standing, target.registry, source.path, target.path, only_these=only_these)
