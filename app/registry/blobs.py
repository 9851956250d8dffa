"""Blobs: fetched when small, mounted or streamed from repository to repository otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

from app import errors
from app.oci.descriptor import Descriptor
from app.registry.connections import Opened
from app.registry.errors import Subject, refusal
from app.registry.mounts import Standing
from app.registry.relay import Pace, Relay
from app.registry.repository import Remote
from app.registry.retries import Outcome, is_passing, plan_retry
from app.registry.scope import mounting, pulling, pushing
from app.registry.transport import Answer, Request, read_start
from app.registry.urls import Url, blob_path, redirect_target, upload_location, uploads_path, with_query

__all__ = ["BlobAction", "copy_blob", "fetch_blob"]

_OK, _CREATED, _ACCEPTED = 200, 201, 202
# Distribution says 201; GCR answers 204, others 200 and 202.
_UPLOADED = frozenset({200, 201, 202, 204})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNAUTHORIZED = 401
# A mount refused so says something of these two repositories, not of the registry.
_ABOUT_THE_SOURCE = frozenset({401, 403, 404})
# An upload that the registry lost, or that is elsewhere than we think: a new one is opened.
_UPLOAD_LOST = frozenset({404, 416})


class BlobAction(StrEnum):
    """How a blob came to be in the target repository."""

    MOUNTED = "mounted"
    COPIED = "copied"
    SKIPPED = "skipped"


async def fetch_blob(remote: Remote, blob: Descriptor, *, limit: int) -> bytes:
    """A small blob, verified; redirects lead where the registry stores it, without any credential."""
    subject = _subject(remote, blob)
    if blob.size > limit:
        raise errors.SourceTooLarge(
            f"{subject} has {blob.size} bytes; at most {limit} are read", **subject.members
        )
    request, trail = await _download(remote, blob, limit=limit), _Trail(remote)
    while (answer := await remote.services.door.call(request)).status != _OK:
        request = await trail.follow(request, answer)
    return _verified(answer.body, blob, subject)


async def copy_blob(
    source: Remote, target: Remote, blob: Descriptor, *, on_bytes: Callable[[int], None]
) -> BlobAction:
    """Makes a blob of one repository be in another: by mount within a registry, else by streaming.

    A mount is asked for at once: one request where looking first would be two. Only on a registry that was
    seen to not mount is it worth while to look whether the blob is there already.
    """
    standing = Standing.REFUSES
    if source.registry == target.registry:
        standing = target.services.mounts.of(target.registry, source.path, target.path)
    if standing is not Standing.MOUNTS and await _has_blob(target, blob):
        return BlobAction.SKIPPED
    location = None
    if standing is not Standing.REFUSES:
        standing, location = await _mount(source, target, blob)
        if standing is Standing.MOUNTS:
            return BlobAction.MOUNTED
    await _Transfer(source, target, blob, on_bytes).perform(location)
    return BlobAction.COPIED


async def _has_blob(target: Remote, blob: Descriptor) -> bool:
    scopes = pushing(target.path)
    request = await target.prepare("HEAD", blob_path(target.path, str(blob.digest)), scopes, is_raw=True)
    answer = await target.call(request, scopes)
    # A redirect of HEAD leads to an address that is signed for GET; that there is one says enough.
    return answer.status == _OK or answer.status in _REDIRECTS


async def _mount(source: Remote, target: Remote, blob: Descriptor) -> tuple[Standing, Url | None]:
    """What came of asking for a mount, and the upload that a registry opens when it declines.

    Distribution spec, "Mounting a blob from another repository": 201 mounted, 202 upload it here.
    """
    scopes = mounting(target.path, source.path)
    query = [("mount", str(blob.digest)), ("from", source.path)]
    status = _UNAUTHORIZED
    location = None
    # A token service may refuse the pair of rights as the registry may: the blob is copied then.
    with contextlib.suppress(errors.RegistryDenied):
        request = await target.prepare("POST", uploads_path(target.path), scopes, is_raw=True)
        request = replace(request, url=with_query(request.url, query))
        answer = await target.call(request, scopes)
        status = answer.status
        if is_passing(status):
            raise _refusal(target, answer, f"the mount of {blob.digest} from {source.path}")
        location = _location(target, request, answer) if status == _ACCEPTED else None
    standing = {_CREATED: Standing.MOUNTS, _ACCEPTED: Standing.DECLINES}.get(status, Standing.REFUSES)
    target.services.mounts.note(
        standing, target.registry, source.path, target.path, only_these=status in _ABOUT_THE_SOURCE
    )
    return standing, location


@dataclass(frozen=True, slots=True)
class _Transfer:
    """One blob on its way from source to target in one pass, without a disk between."""

    source: Remote
    target: Remote
    blob: Descriptor
    on_bytes: Callable[[int], None]

    async def perform(self, location: Url | None) -> None:
        """On trouble that may pass, all over again: upload sessions don't survive it on every registry."""
        attempt, was_renewed = 1, False
        while True:
            result = await self._try(location)
            if isinstance(result, Answer) and result.status in _UPLOADED:
                return
            location = None
            if isinstance(result, Answer) and result.status == _UNAUTHORIZED and not was_renewed:
                was_renewed = await self._renew(result)
                if was_renewed:
                    continue
            await self._wait_or_raise(result, attempt)
            attempt += 1

    async def _try(self, location: Url | None) -> Answer | errors.RegistryError:
        try:
            # The upload is opened first: it brings the token before the first byte of the body is sent.
            location = location or await _open_upload(self.target)
            async with self.target.services.door.upload_slot(location), asyncio.timeout(None) as deadline:
                return await self._relay(location, deadline)
        except TimeoutError:
            return errors.RegistryTimeout(
                f"the copy of {self.blob.digest} from {self.source.repository} to {self.target.repository} "
                "stood still for too long",
                **self.target.subject().members,
            )
        except errors.RegistryError as error:
            if not error.retryable:
                raise
            return error

    async def _relay(self, location: Url, deadline: asyncio.Timeout) -> Answer:
        pace = Pace(deadline, self.target.services.limits, size=self.blob.size)
        subject = _subject(self.source, self.blob)
        request = await self.target.prepare(
            "PUT",
            with_query(location, [("digest", str(self.blob.digest))]),
            pushing(self.target.path),
            headers={"Content-Length": str(self.blob.size), "Content-Type": "application/octet-stream"},
            is_raw=True,
        )
        async with _opened(self.source, self.blob) as opened:
            pace.start()
            relay = Relay(opened.chunks, self.blob, subject, on_bytes=(pace.passed, self.on_bytes))
            try:
                return await self.target.services.door.send(request, relay)
            except errors.RegistryError:
                if relay.failure is not None:
                    raise relay.failure from None
                raise

    async def _renew(self, answer: Answer) -> bool:
        """Replaces the token that an upload was refused with; False when there is no other."""
        scopes = pushing(self.target.path)
        refused = await self.target.prepare("PUT", uploads_path(self.target.path), scopes)
        return await self.target.renew(refused, scopes, answer) is not None

    async def _wait_or_raise(self, result: Answer | errors.RegistryError, attempt: int) -> None:
        error: errors.BrokerError
        if isinstance(result, Answer):
            error = _refusal(self.target, result, f"the upload of {self.blob.digest}")
            may_pass = error.retryable or result.status in _UPLOAD_LOST
        else:
            error, may_pass = result, True
        wait = plan_retry(
            Outcome(may_pass, error.retry_after),
            attempt=attempt,
            spent=0.0,
            jitter=random.random(),  # noqa: S311 - spreads retries, protects nothing
            limits=self.target.services.limits,
        )
        if wait is None:
            raise error
        await asyncio.sleep(wait)


@asynccontextmanager
async def _opened(source: Remote, blob: Descriptor) -> AsyncIterator[Opened]:
    limits = source.services.limits
    request, trail = await _download(source, blob), _Trail(source)
    while True:
        async with source.services.door.open(request) as opened:
            if opened.status == _OK:
                yield opened
                return
            answer = Answer(opened.status, opened.headers, await read_start(opened, limits.error_bytes))
        request = await trail.follow(request, answer)


async def _open_upload(target: Remote) -> Url:
    scopes = pushing(target.path)
    request = await target.prepare("POST", uploads_path(target.path), scopes, is_raw=True)
    answer = await target.call(request, scopes)
    if answer.status != _ACCEPTED:
        raise _refusal(target, answer, "the opening of an upload")
    return _location(target, request, answer)


def _location(target: Remote, request: Request, answer: Answer) -> Url:
    locations = answer.headers.getall("Location", [])
    if len(locations) != 1:
        raise errors.NotARegistry(
            f"{target.registry} opened an upload without saying where", **target.subject().members
        )
    return upload_location(request.url, locations[0], registry=target.registry)


async def _download(remote: Remote, blob: Descriptor, *, limit: int | None = None) -> Request:
    digest = str(blob.digest)
    return await remote.prepare(
        "GET",
        blob_path(remote.path, digest),
        pulling(remote.path),
        subject=_subject(remote, blob),
        limit=limit,
        is_raw=True,
    )


class _Trail:
    """Where a blob leads: elsewhere by a few redirects, and through one 401 of the registry's own."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._redirects = remote.services.limits.redirects
        self._may_renew = True

    async def follow(self, request: Request, answer: Answer) -> Request:
        """The next request, or the error that ends the search."""
        if answer.status in _REDIRECTS:
            if not self._redirects:
                raise errors.NotARegistry(
                    f"{self._remote.registry} redirects {request.subject} too often",
                    **request.subject.members,
                )
            self._redirects -= 1
            self._may_renew = False
            return _redirected(self._remote, request, answer)
        renewed = None
        if answer.status == _UNAUTHORIZED and self._may_renew:
            self._may_renew = False
            renewed = await self._remote.renew(request, pulling(self._remote.path), answer)
        if renewed is None:
            raise _refusal(self._remote, answer, f"the GET of {request.subject}")
        return renewed


def _redirected(remote: Remote, request: Request, answer: Answer) -> Request:
    locations = answer.headers.getall("Location", [])
    if len(locations) != 1:
        raise errors.NotARegistry(
            f"{remote.registry} redirects without saying where", **request.subject.members
        )
    url = redirect_target(request.url, locations[0], registry=remote.registry)
    if url.origin == request.url.origin:
        return replace(request, url=url)
    is_guarded = not (remote.access.insecure and remote.services.policy.may_be_insecure(url.authority))
    return replace(request, url=url, verify=is_guarded, authorization=None)


def _verified(body: bytes, blob: Descriptor, subject: Subject) -> bytes:
    if len(body) != blob.size or not blob.digest.matches(body):
        raise errors.DigestMismatch(
            f"{subject.registry} sent {len(body)} bytes for {subject} that are not the {blob.size} bytes "
            "with that digest",
            **subject.members,
        )
    return body


def _subject(remote: Remote, blob: Descriptor) -> Subject:
    return remote.subject(f"{remote.repository}@{blob.digest}")


def _refusal(remote: Remote, answer: Answer, doing: str) -> errors.BrokerError:
    return refusal(answer.status, answer.headers, answer.body, remote.subject(), doing=doing)
