"""One blob on its way from a registry to another, without a disk between: resumed where that can be."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from app import errors
from app.oci.descriptor import Descriptor
from app.outbound.client import Answer
from app.outbound.retry import Outcome, is_passing, plan_retry
from app.registry.auth.scope import pushing
from app.registry.content.download import Download
from app.registry.content.upload import Upload, has_blob, open_upload, upload_refusal
from app.registry.error_bodies import parse_upstream
from app.registry.push import settle
from app.registry.push.body_sizes import Body, BodySizes
from app.registry.push.stall_watch import StallWatch, WatchedBody
from app.registry.repository import RemoteRepository

__all__ = ["Transfer"]

# Distribution says 201; GCR answers 204, others 200 and 202, which mean less.
_UPLOADED, _PERHAPS_UPLOADED = frozenset({201, 204}), frozenset({200, 202})
_BAD_REQUEST, _UNAUTHORIZED, _NOT_FOUND, _TOO_LARGE, _WRONG_RANGE = 400, 401, 404, 413, 416
# 522 and 524 are what Cloudflare says of an origin that it could not wait for.
_NOT_IN_TIME = frozenset({504, 522, 524})
# An upload that the registry lost, or that is elsewhere than we think: it is found, or a new one is opened.
_LOST = frozenset({_NOT_FOUND, _WRONG_RANGE})
# An upload that still stands as it was, and of which the registry took nothing.
_UNTOUCHED = frozenset({_UNAUTHORIZED, _TOO_LARGE})
_LOST_CODES = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"})

Trouble = Answer | errors.RegistryError


class Transfer:
    """Monolithic first, as all registries know it; in chunks where one refuses that, and to resume.

    When an upload breaks, the registry is asked how far it came, and the rest follows by PATCH. Many can't
    say, and are given the whole of this one blob again.
    """

    def __init__(
        self,
        source: RemoteRepository,
        target: RemoteRepository,
        blob: Descriptor,
        on_position: Callable[[int], None],
    ) -> None:
        self._source = source
        self._target = target
        self._blob = blob
        self._on_position = on_position
        self._limits = target.state.limits
        self._download = Download(source, blob)
        self._upload: Upload | None = None
        self._attempt = 1
        self._renewals = 0
        self._furthest = 0
        self._may_be_mixed = False
        self._sizes = BodySizes(target)
        self._body = Body("PUT", 0)

    async def perform(self, upload: Upload | None) -> None:
        """`upload` is one that is open already, such as a declined mount leaves."""
        self._upload = upload
        async with self._download:
            try:
                while (trouble := await self._try()) is not None:
                    if await self._has_come_to_good(trouble):
                        return
                    await self._go_back(trouble)
            except BaseException:
                # Also where all of this is called off: it takes a moment that is bounded.
                await self._call_off()
                raise

    async def _try(self) -> Trouble | None:
        """None when the blob is there, else what came in between."""
        try:
            async with await self._slot(), asyncio.timeout(None) as deadline:
                answer = await self._send(StallWatch(deadline, self._limits))
            is_success = await self._is_success(answer)
        except TimeoutError:
            return self._stood_still()
        except errors.BrokerError as error:
            return await self._trouble_of(error)
        if not is_success:
            return answer
        self._sizes.note_end()
        return None

    async def _slot(self) -> AbstractAsyncContextManager[None]:
        target = self._target
        base, account = (await target.endpoint()).base, await target.access.account_at(target.registry)
        return target.state.outbound.upload_slot(base, target.registry, account)

    async def _send(self, watch: StallWatch) -> Answer:
        try:
            watch.hold(self._limits.call_seconds)
            offset = self._upload.offset if self._upload is not None else 0
            if offset < self._blob.size or not self._blob.size:
                await self._download.start(offset, watch)
            # Sessions end by themselves: none is opened before there is something to send. Its opening brings
            # the token before the first byte of the body is sent.
            if self._upload is None:
                with watch.queueing():
                    self._upload = await open_upload(self._target)
            answer = await self._write(self._upload, watch)
        finally:
            # Who waits for a slot holds no connection to a source that others may be waiting for.
            await self._download.release()
        if self._download.failure is not None:
            raise self._download.failure
        return answer

    async def _trouble_of(self, error: errors.BrokerError) -> errors.RegistryError:
        """What the source did wrong shows as a body that broke, and is final: its retries have been made."""
        failure = self._download.failure or error
        if isinstance(failure, errors.RegistryError) and self._download.failure is None:
            return failure
        await self._call_off()
        if not await self._download.start_over():
            raise failure
        return errors.RegistryUnreachable(str(failure), **self._source.context().members)

    async def _write(self, upload: Upload, watch: StallWatch) -> Answer:
        size = self._blob.size
        if upload.offset == 0 and size <= self._sizes.largest("PUT"):
            return await upload.put(self._blob, self._watched(Body("PUT", size), watch), watch.queueing)
        while (begun := upload.offset) < size:
            chunk = min(size - begun, max(self._sizes.chunk, upload.least_chunk))
            answer = await upload.patch(chunk, self._watched(Body("PATCH", chunk), watch), watch.queueing)
            if not answer.is_success:
                return answer
            if begun < upload.offset <= begun + chunk:
                self._advance(upload.offset)
            if upload.offset != begun + chunk:
                self._sizes.note_kept(upload.offset - begun)
                # It counts as an attempt: bytes that are sent to be dropped would go on for ever.
                raise errors.RegistryUnavailable(
                    f"{self._target.registry} kept other bytes of the upload of {self._blob.digest} than "
                    "it was sent.",
                    **self._target.context().members,
                )
            if upload.offset < size:
                await self._download.start(upload.offset, watch)
        watch.end(size)
        self._body = Body("PUT", 0)
        return await upload.finish(self._blob, watch.queueing)

    def _watched(self, body: Body, watch: StallWatch) -> WatchedBody:
        self._body = body
        watch.start()
        return WatchedBody(self._download, body.size, watch, self._on_position)

    async def _is_success(self, answer: Answer) -> bool:
        if answer.status not in _PERHAPS_UPLOADED:
            return answer.status in _UPLOADED
        if not await has_blob(self._target, self._blob):
            raise errors.RegistryRejected(
                f"{self._target.registry} answered {answer.status} to the upload of {self._blob.digest}, "
                "but does not have it.",
                **self._target.context().members,
            )
        return True

    def _stood_still(self) -> errors.RegistryTimeout:
        return errors.RegistryTimeout(
            f"The copy of {self._blob.digest} from {self._source.repository} to {self._target.repository} "
            "stood still for too long.",
            **self._target.context().members,
        )

    # --- after trouble ---

    async def _has_come_to_good(self, trouble: Trouble) -> bool:
        """Whether the blob is there all the same; if not there is another attempt, or its error is raised."""
        if await self._renew(trouble) or self._shrink(trouble):
            return False
        error, wait = self._judge(trouble)
        await asyncio.sleep(wait or 0.0)
        if await self._has_arrived(trouble, is_last=wait is None):
            return True
        if wait is None:
            raise error
        self._attempt += 1
        return False

    async def _renew(self, trouble: Trouble) -> bool:
        """Replaces the token that an upload was refused with; False when there is no other."""
        if isinstance(trouble, errors.RegistryError) or trouble.status != _UNAUTHORIZED:
            return False
        refused = self._upload.last if self._upload is not None else None
        if refused is None:
            return False
        scopes = pushing(self._target.path)
        renewed = await self._target.renew(refused, scopes, trouble, renewals=self._renewals)
        self._renewals += 1
        return renewed is not None

    def _shrink(self, trouble: Trouble) -> bool:
        """Learns to send less at a time to a registry that calls bodies too large."""
        if isinstance(trouble, errors.RegistryError):
            return False
        return self._sizes.shrink(trouble.status, self._body, self._least_chunk)

    @property
    def _least_chunk(self) -> int:
        return self._upload.least_chunk if self._upload is not None else 0

    def _judge(self, trouble: Trouble) -> tuple[errors.BrokerError, float | None]:
        """What it is, and the seconds to wait before the next attempt, if there is one."""
        error: errors.BrokerError
        if isinstance(trouble, Answer):
            error = upload_refusal(self._target, trouble, f"the upload of {self._blob.digest}")
            may_pass = error.retryable or _is_lost(trouble) or self._is_spoilt(trouble)
        else:
            error, may_pass = trouble, trouble.retryable
        wait = plan_retry(
            Outcome(may_pass, error.retry_after),
            attempt=self._attempt,
            spent=0.0,
            jitter=random.random(),  # noqa: S311 - spreads retries, protects nothing
            limits=self._limits,
        )
        return error, wait

    def _is_spoilt(self, trouble: Trouble) -> bool:
        """Whether a registry may have put the parts of a resumed upload together wrongly."""
        return isinstance(trouble, Answer) and trouble.status == _BAD_REQUEST and self._may_be_mixed

    async def _has_arrived(self, trouble: Trouble, *, is_last: bool) -> bool:
        """An answer that was lost may have been a yes, and so may one that no longer knows of the upload."""
        if self._download.position != self._blob.size or not self._is_open(trouble, is_last=is_last):
            return False
        attempt = 1
        while not (is_there := await self._is_there()) and _is_late(trouble):
            # What takes a registry so long is begun again if the blob is sent again.
            if not await settle.wait(attempt, may_pass=True, limits=settle.patience(self._limits)):
                break
            attempt += 1
        return is_there

    async def _is_there(self) -> bool:
        with suppress(errors.RegistryError):
            return await has_blob(self._target, self._blob)
        return False

    def _is_open(self, trouble: Trouble, *, is_last: bool) -> bool:
        if isinstance(trouble, errors.RegistryError) or _is_lost(trouble):
            return True
        # "Later" is worth a question where the blob is large, or nobody tries again.
        return is_passing(trouble.status) and (is_last or self._blob.size >= self._limits.resume_bytes)

    async def _go_back(self, trouble: Trouble) -> None:
        """To what the registry has of this upload, if that is worth a question, or else to a new one."""
        upload, is_spoilt, self._may_be_mixed = self._upload, self._is_spoilt(trouble), False
        if upload is None:
            return
        believed = upload.offset
        status = trouble.status if isinstance(trouble, Answer) else None
        is_begun = self._download.position >= self._limits.resume_bytes
        is_worth_it = not is_spoilt and (believed or (is_begun and status not in _UNTOUCHED))
        if is_worth_it and await upload.ask() and 0 < upload.offset <= self._download.position:
            self._may_be_mixed = True
            self._advance(upload.offset)
            if status == _WRONG_RANGE and upload.offset == believed:
                self._sizes.note_too_large(self._body, upload.least_chunk)
            return
        # Tokens for pushing seldom allow DELETE, so that a 401 would only be followed by another.
        if status == _TOO_LARGE:
            await self._call_off()
        self._upload = None

    async def _call_off(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            await upload.cancel()

    def _advance(self, offset: int) -> None:
        """So much progress restores the retries: what breaks now and then gets there in the end."""
        if offset >= self._furthest + self._limits.resume_bytes:
            self._furthest, self._attempt, self._renewals = offset, 1, 0


def _is_lost(answer: Answer) -> bool:
    """Whether the registry does not know of the upload, or not of one that is where we think."""
    return answer.status in _LOST or parse_upstream(answer.body).code in _LOST_CODES


def _is_late(trouble: Trouble) -> bool:
    """Whether we, or a proxy between, could not wait for the answer."""
    if isinstance(trouble, Answer):
        return trouble.status in _NOT_IN_TIME
    return isinstance(trouble, errors.RegistryTimeout)
