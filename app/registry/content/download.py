"""Downloads of blobs: in order, verified, and resumed where a connection broke."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.outbound.client import Answer, Request, body_of, read_head, read_start
from app.outbound.failures import FAILURES, translate, was_lost
from app.outbound.retry import Outcome, plan_retry
from app.registry.content.redirects import RedirectFollower, blob_context, download_request
from app.registry.repository import RemoteRepository

__all__ = ["Download", "RunningDigest"]

_OK, _PARTIAL, _UNSATISFIABLE = 200, 206, 416
_STALE = frozenset({400, 401, 403, 404, 410})
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19}|\*)", re.ASCII | re.IGNORECASE)
_FIRST_INTERVAL = 4 * 1024 * 1024
_MOST_KEPT = 128


class RunningDigest:
    """A digest over bytes in order that can go back to an earlier position.

    It saves its state at intervals. A large blob has as many saved states as a small one, only farther
    apart.
    """

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._interval = _FIRST_INTERVAL
        self._kept = [(0, self._hash.copy())]
        self.position = 0

    def update(self, data: bytes) -> None:
        self._hash.update(data)
        self.position += len(data)
        if self.position - self._kept[-1][0] >= self._interval:
            self._keep()

    def go_back(self, position: int) -> int:
        """Go back to the nearest saved position at or before this one, and return it."""
        while self._kept[-1][0] > position:
            self._kept.pop()
        self.position, kept = self._kept[-1]
        self._hash = kept.copy()
        return self.position

    @property
    def digest(self) -> Digest:
        """The digest of all bytes up to the position."""
        return Digest(self._algorithm, self._hash.hexdigest())

    def _keep(self) -> None:
        if len(self._kept) == _MOST_KEPT:
            del self._kept[1::2]
            self._interval *= 2
        self._kept.append((self.position, self._hash.copy()))


class Watch(Protocol):
    """A stall watch: it must know when no bytes can move."""

    def allow(self, seconds: float) -> None: ...

    def queueing(self) -> AbstractContextManager[None]: ...


class Download:
    """A blob from any offset on; its last bytes come only once the whole has the right digest.

    Retries are counted here alone, and start again after enough progress. Its errors are final, and kept
    as `failure`, since the HTTP library that reads a body hides the cause.
    """

    def __init__(self, source: RemoteRepository, blob: Descriptor) -> None:
        self.failure: errors.BrokerError | None = None
        self._was_resumed = False
        self._may_start_over = True
        self._source = source
        self._blob = blob
        self._context = blob_context(source, blob)
        self._digest = RunningDigest(blob.digest.algorithm)
        # Bytes received and not read yet, and the number of bytes that are received again and
        # dropped.
        self._buffered = b""
        self._skip = 0
        self._chunks: AsyncIterator[bytes] | None = None
        self._stream = AsyncExitStack()
        self._may_ask_for_part = True
        self._attempt = 1
        self._failed_at = 0
        # A reading task may still be ending when another task closes.
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()

    @property
    def position(self) -> int:
        """The offset of the next byte to read."""
        return self._digest.position - len(self._buffered) + self._skip

    async def start(self, offset: int, watch: Watch) -> None:
        """Start the download at an offset at or before the position.

        `watch` learns here and below when the download waits, and for how many seconds before a
        retry.
        """
        async with self._lock:
            if offset != self.position:
                await self._close()
                self._buffered = b""
                self._skip = offset - self._digest.go_back(offset)
            if not self._blob.size:
                self._accept(b"")
            elif not self._buffered and self._chunks is None:
                await self._receive(watch)

    async def read(self, most: int, watch: Watch) -> bytes:
        """The next bytes, up to `most`; empty at the end."""
        async with self._lock:
            while not self._buffered and self.position < self._blob.size:
                await self._receive(watch)
            given, self._buffered = self._buffered[:most], self._buffered[most:]
            return given

    async def release(self) -> None:
        """Release the connection; a later read opens another."""
        async with self._lock:
            await self._close()

    async def start_over(self) -> bool:
        """Start again from the first byte, once, if parts of two versions may have been mixed."""
        was_mixed = isinstance(self.failure, errors.DigestMismatch) and self._was_resumed
        if not (was_mixed and self._may_start_over):
            return False
        async with self._lock:
            await self._close()
            self._buffered, self._skip = b"", 0
            self._digest.go_back(0)
        self._may_ask_for_part = self._may_start_over = False
        self.failure = None
        return True

    async def _receive(self, watch: Watch) -> None:
        """Receive one chunk, over as many connections as the limits allow."""
        try:
            while (chunk := await self._try(watch)) is None:
                pass
            self._accept(chunk)
        except errors.BrokerError as error:
            self.failure = error
            raise

    async def _try(self, watch: Watch) -> bytes | None:
        try:
            return await self._take(watch)
        except errors.RegistryError as error:
            await self._close()
            wait = self._plan_or_raise(error)
        watch.allow(wait)
        await asyncio.sleep(wait)
        return None

    async def _take(self, watch: Watch) -> bytes:
        try:
            if self._chunks is None:
                self._chunks = await self._open(self._digest.position, watch)
            chunk = await anext(self._chunks, b"")
        except FAILURES as error:
            raise translate(error, self._context) from error
        if not chunk:
            raise errors.RegistryUnreachable(
                f"{self._context.registry} ended {self._blob.digest} after {self._digest.position} of "
                f"{self._blob.size} bytes.",
                **self._context.members,
            )
        return chunk

    def _accept(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        is_whole = self._digest.position == self._blob.size
        if self._digest.position > self._blob.size or (is_whole and self._digest.digest != self._blob.digest):
            raise errors.DigestMismatch(
                f"{self._context.registry} sent bytes for {self._blob.digest} that do not have that digest.",
                **self._context.members,
            )
        skipped = min(self._skip, len(chunk))
        self._skip -= skipped
        self._buffered = chunk[skipped:]

    def _plan_or_raise(self, error: errors.RegistryError) -> float:
        if self._digest.position - self._failed_at >= self._source.state.limits.resume_bytes:
            self._attempt = 1
        self._failed_at = self._digest.position
        # A replica may not have the blob yet, although it has the manifest.
        may_pass = error.retryable or isinstance(error, errors.SourceNotFound)
        wait = plan_retry(
            Outcome(may_pass, error.retry_after, was_lost(error)),
            attempt=self._attempt,
            spent=0.0,
            jitter=random.random(),  # noqa: S311 - spreads retries, protects nothing
            limits=self._source.state.limits,
        )
        if wait is None:
            raise error
        self._attempt += 1
        return wait

    async def _open(self, offset: int, watch: Watch) -> AsyncIterator[bytes]:
        """Open a connection to the bytes from an offset on (RFC 9110, section 14)."""
        wants_part = offset > 0 and self._may_ask_for_part
        headers = {"Range": f"bytes={offset}-"} if wants_part else {}
        request = await download_request(self._source, self._blob, headers=headers)
        redirects, registry_origin = RedirectFollower(self._source), request.url.origin
        while True:
            opening = self._source.state.outbound.open(request, watch.queueing)
            response = await self._stream.enter_async_context(opening)
            self._was_resumed |= offset > 0
            opened = read_head(response, request.context)
            if opened.status == _PARTIAL and self._is_right_part(opened.headers.get("Content-Range"), offset):
                return body_of(response)
            if opened.status == _OK:
                # Ranges are optional: the whole blob comes again, and the bytes that are
                # here already are dropped.
                return _without_first(body_of(response), offset)
            limit = self._source.state.limits.error_bytes
            is_useless = wants_part and opened.status in {_PARTIAL, _UNSATISFIABLE}
            answer = replace(opened, body=await read_start(response, 0 if is_useless else limit))
            await self._close()
            if is_useless:
                self._may_ask_for_part = False
                return await self._open(offset, watch)
            if request.url.origin != registry_origin and answer.status in _STALE:
                raise self._stale(request, answer)
            request = await redirects.follow(request, answer)

    def _stale(self, request: Request, answer: Answer) -> errors.RegistryUnavailable:
        """Signed addresses expire; the registry gives a new one when it is asked again."""
        shown = self._context.quoting.fact(request.url.origin) or "The address"
        return errors.RegistryUnavailable(
            f"{shown}, to which {self._context.registry} redirects, answered {answer.status} "
            f"to the GET of {self._blob.digest}.",
            **self._context.members,
        )

    def _is_right_part(self, said: str | None, offset: int) -> bool:
        part = _CONTENT_RANGE.fullmatch(said or "")
        return part is not None and int(part[1]) == offset and part[2] in {"*", str(self._blob.size)}

    async def _close(self) -> None:
        self._chunks = None
        stream, self._stream = self._stream, AsyncExitStack()
        await stream.aclose()


async def _without_first(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        if len(chunk) > size:
            yield chunk[size:]
        size = max(0, size - len(chunk))
