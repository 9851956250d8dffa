"""The transfer of one blob between registries, without a disk: resumed where that is possible."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress

from app import errors
from app.oci.descriptor import Descriptor
from app.outbound.client import Answer
from app.outbound.retry import Outcome, is_passing, plan_retry
from app.registry.auth.renewals import Renewals
from app.registry.auth.scope import pushing
from app.registry.content.download import Download
from app.registry.content.upload import Upload, has_blob, open_upload, upload_refusal
from app.registry.error_bodies import parse_upstream, refuses_token
from app.registry.push import settle
from app.registry.push.body_sizes import Body, BodySizes
from app.registry.push.stall_watch import Activity, StallWatch, WatchedBody
from app.registry.repository import RemoteRepository

__all__ = ["Transfer"]

# The distribution registry answers 201, GCR 204; others answer 200 and 202, which prove less.
_UPLOADED, _PERHAPS_UPLOADED = frozenset({201, 204}), frozenset({200, 202})
_BAD_REQUEST, _UNAUTHORIZED, _NOT_FOUND, _TOO_LARGE, _WRONG_RANGE = 400, 401, 404, 413, 416
# Cloudflare answers 522 and 524 when the origin takes too long.
_NOT_IN_TIME = frozenset({504, 522, 524})
# The registry lost the upload, or expects another offset: ask for it, or open a new one.
_LOST = frozenset({_NOT_FOUND, _WRONG_RANGE})
# The upload is unchanged, and the registry took nothing.
_UNTOUCHED = frozenset({_UNAUTHORIZED, _TOO_LARGE})
_LOST_CODES = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"})

Failure = Answer | errors.RegistryError


class Transfer:
    """Sends the whole blob first, which all registries support; in chunks if that is refused, or to resume.

    After a broken upload, the registry is asked for its offset, and the rest follows by PATCH. Many
    registries can't tell, and get the whole blob again.
    """

    def __init__(
        self,
        source: RemoteRepository,
        target: RemoteRepository,
        blob: Descriptor,
        on_position: Callable[[int], None],
        sizes: BodySizes,
        *,
        activity: Activity | None = None,
    ) -> None:
        self._source = source
        self._target = target
        self._blob = blob
        self._on_position = on_position
        self._limits = target.state.limits
        self._download = Download(source, blob)
        self._upload: Upload | None = None
        self._attempt = 1
        self._renewals: Renewals | None = None
        self._furthest = 0
        self._may_be_mixed = False
        self._sizes = sizes
        self._activity = activity
        self._body = Body("PUT", 0)

    async def perform(self, upload: Upload | None) -> None:
        """Copy the blob; `upload` is an open session, such as a declined mount leaves."""
        self._upload = upload
        async with self._download:
            try:
                while (failure := await self._try()) is not None:
                    if await self._recover(failure):
                        return
                    await self._go_back(failure)
            except BaseException:
                # This includes cancellation; it takes a bounded time.
                await self._cancel_upload()
                raise

    async def _try(self) -> Failure | None:
        """None if the blob has arrived, else the failure."""
        watch: StallWatch | None = None
        try:
            async with asyncio.timeout(None) as deadline, AsyncExitStack() as stack:
                watch = StallWatch(deadline, self._limits, self._activity)
                with watch.queueing():
                    await stack.enter_async_context(await self._slot())
                answer = await self._send(watch)
            is_success = await self._is_success(answer)
        except TimeoutError:
            if watch is not None and watch.waited_too_long:
                raise self._crowded() from None
            return self._stalled()
        except errors.BrokerError as error:
            return await self._failure_of(error)
        if not is_success:
            return answer
        self._sizes.record_success()
        return None

    async def _slot(self) -> AbstractAsyncContextManager[None]:
        target = self._target
        account = await target.access.account_at(target.repository)
        return target.state.outbound.upload_slot(target.registry, account)

    async def _send(self, watch: StallWatch) -> Answer:
        try:
            watch.allow(self._limits.call_seconds)
            offset = self._upload.offset if self._upload is not None else 0
            if offset < self._blob.size or not self._blob.size:
                await self._download.start(offset, watch)
            # Sessions expire, so the upload is opened only when bytes are ready. Opening it
            # also fetches the token before the first byte of the body is sent.
            if self._upload is None:
                with watch.queueing():
                    self._upload = await open_upload(self._target)
            answer = await self._write(self._upload, watch)
        finally:
            # Hold no connection to the source while waiting for a slot: others may need it.
            await self._download.release()
        if self._download.failure is not None:
            raise self._download.failure
        return answer

    async def _failure_of(self, error: errors.BrokerError) -> errors.RegistryError:
        """The failure of a request; a failure of the source is final, since its retries have been made."""
        failure = self._download.failure or error
        if isinstance(failure, errors.RegistryError) and self._download.failure is None:
            return failure
        await self._cancel_upload()
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
                self._sizes.record_kept(upload.offset - begun)
                # This counts as an attempt: bytes could be sent and dropped for ever.
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

    def _crowded(self) -> errors.Unavailable:
        """The error that ends the attempt without counting it. The operation yields its slot and waits."""
        return errors.Unavailable(
            f"The copy of {self._blob.digest} from {self._source.repository} to {self._target.repository} "
            "waited too long for other transfers."
        )

    def _stalled(self) -> errors.RegistryTimeout:
        return errors.RegistryTimeout(
            f"The copy of {self._blob.digest} from {self._source.repository} to {self._target.repository} "
            "stood still for too long.",
            **self._target.context().members,
        )

    # --- after a failure ---

    async def _recover(self, failure: Failure) -> bool:
        """True if the blob has arrived after all, false for another attempt; raise if none is left."""
        if await self._renew(failure) or self._shrink(failure):
            return False
        error, wait = self._judge(failure)
        await asyncio.sleep(wait or 0.0)
        if await self._has_arrived(failure, is_last=wait is None):
            return True
        if wait is None:
            raise error
        self._attempt += 1
        return False

    async def _renew(self, failure: Failure) -> bool:
        """Renew the token that was refused; false if no other is available."""
        if isinstance(failure, errors.RegistryError) or not refuses_token(failure.status, failure.body):
            return False
        refused = self._upload.last if self._upload is not None else None
        if refused is None:
            return False
        if self._renewals is None:
            self._renewals = await self._target.renewals(refused, pushing(self._target.path))
        renewed = await self._renewals.next(refused, failure)
        if renewed is None:
            await self._renewals.settle(failure)
            return False
        if renewed.authorization is None:
            # The body of an upload is too large to be sent without a token. A lookup finds the way instead.
            with suppress(errors.BrokerError):
                await has_blob(self._target, self._blob)
        return True

    def _shrink(self, failure: Failure) -> bool:
        """Send smaller bodies to a registry that calls them too large."""
        if isinstance(failure, errors.RegistryError):
            return False
        return self._sizes.shrink(failure.status, self._body, self._least_chunk)

    @property
    def _least_chunk(self) -> int:
        return self._upload.least_chunk if self._upload is not None else 0

    def _judge(self, failure: Failure) -> tuple[errors.BrokerError, float | None]:
        """The error, and the seconds before the next attempt, None if it was the last."""
        error: errors.BrokerError
        if isinstance(failure, Answer):
            error = upload_refusal(self._target, failure, f"the upload of {self._blob.digest}")
            may_pass = error.retryable or _is_lost(failure) or self._is_spoilt(failure)
        else:
            error, may_pass = failure, failure.retryable
        wait = plan_retry(
            Outcome(may_pass, error.retry_after),
            attempt=self._attempt,
            spent=0.0,
            jitter=random.random(),  # noqa: S311 - spreads retries, protects nothing
            limits=self._limits,
        )
        return error, wait

    def _is_spoilt(self, failure: Failure) -> bool:
        """Whether the registry may have joined the parts of a resumed upload wrongly.

        The bytes were hashed as they passed, so a digest that is disputed is the registry's mistake, too.
        """
        if not isinstance(failure, Answer):
            return False
        is_mixed = failure.status == _BAD_REQUEST and self._may_be_mixed
        return is_mixed or parse_upstream(failure.body).code == settle.DISPUTED

    async def _has_arrived(self, failure: Failure, *, is_last: bool) -> bool:
        """Whether the blob has arrived although its answer was lost, or the upload is no longer known."""
        if self._download.position != self._blob.size or not self._is_open(failure, is_last=is_last):
            return False
        attempt = 1
        while not (is_there := await self._is_there()) and _is_late(failure):
            # A new upload would take the registry as long again.
            if not await settle.wait(attempt, may_pass=True, limits=settle.patience(self._limits)):
                break
            attempt += 1
        return is_there

    async def _is_there(self) -> bool:
        with suppress(errors.RegistryError):
            return await has_blob(self._target, self._blob)
        return False

    def _is_open(self, failure: Failure, *, is_last: bool) -> bool:
        if isinstance(failure, errors.RegistryError) or _is_lost(failure):
            return True
        # After "later", a lookup is worth it for a large blob, or if no attempt is left.
        return is_passing(failure.status) and (is_last or self._blob.size >= self._limits.resume_bytes)

    async def _go_back(self, failure: Failure) -> None:
        """Go back to the offset that the registry has, if it is worth a request; else to a new upload."""
        upload, is_spoilt, self._may_be_mixed = self._upload, self._is_spoilt(failure), False
        if upload is None:
            return
        believed = upload.offset
        status = failure.status if isinstance(failure, Answer) else None
        is_begun = self._download.position >= self._limits.resume_bytes
        is_worth_it = not is_spoilt and (believed or (is_begun and status not in _UNTOUCHED))
        if is_worth_it and await upload.fetch_offset() and 0 < upload.offset <= self._download.position:
            self._may_be_mixed = True
            self._advance(upload.offset)
            if status == _WRONG_RANGE and upload.offset == believed:
                self._sizes.record_too_large(self._body, upload.least_chunk)
            return
        # Tokens for pushing seldom allow DELETE, so a 401 would only be followed by another.
        if status == _TOO_LARGE:
            await self._cancel_upload()
        self._upload = None

    async def _cancel_upload(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            await upload.cancel()

    def _advance(self, offset: int) -> None:
        """Restore the retries after enough progress, so that a transfer that breaks often still ends."""
        if offset >= self._furthest + self._limits.resume_bytes:
            self._furthest, self._attempt, self._renewals = offset, 1, None


def _is_lost(answer: Answer) -> bool:
    """Whether the registry does not know the upload, or not at this offset."""
    return answer.status in _LOST or parse_upstream(answer.body).code in _LOST_CODES


def _is_late(failure: Failure) -> bool:
    """Whether the client, or a proxy, stopped waiting for the answer."""
    if isinstance(failure, Answer):
        return failure.status in _NOT_IN_TIME
    return isinstance(failure, errors.RegistryTimeout)
