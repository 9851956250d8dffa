"""A blob's bytes from a registry, in order and verified; where a connection breaks they go on from there."""

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
from app.outbound.client import Answer, Request, body_of, read_start
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
    """Keeps its state at intervals: as many for a large blob as for a small one, only farther apart."""

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
        """To where it was at that position or, as near as it is kept, before; says where that is."""
        while self._kept[-1][0] > position:
            self._kept.pop()
        self.position, kept = self._kept[-1]
        self._hash = kept.copy()
        return self.position

    @property
    def digest(self) -> Digest:
        """Of all bytes up to the position."""
        return Digest(self._algorithm, self._hash.hexdigest())

    def _keep(self) -> None:
        if len(self._kept) == _MOST_KEPT:
            del self._kept[1::2]
            self._interval *= 2
        self._kept.append((self.position, self._hash.copy()))


class Waiting(Protocol):
    """Who watches that bytes keep moving, and has to know when none can."""

    def hold(self, seconds: float) -> None: ...

    def queueing(self) -> AbstractContextManager[None]: ...


class Download:
    """Gives a blob from any offset on; the last of its bytes only when all of them have its digest.

    Retries are counted here alone, and anew once enough came: what it raises is final, and kept as `failure`,
    since the HTTP library that reads a body hides why it broke.
    """

    def __init__(self, source: RemoteRepository, blob: Descriptor) -> None:
        self.failure: errors.BrokerError | None = None
        self._was_resumed = False
        self._may_start_over = True
        self._source = source
        self._blob = blob
        self._subject = blob_context(source, blob)
        self._digest = RunningDigest(blob.digest.algorithm)
        # Bytes that were received and not given yet, and bytes that are received again but not to be given.
        self._held = b""
        self._skip = 0
        self._chunks: AsyncIterator[bytes] | None = None
        self._stream = AsyncExitStack()
        self._may_ask_for_part = True
        self._attempt = 1
        self._failed_at = 0
        # The task that reads may still be on its way out when another closes.
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()

    @property
    def position(self) -> int:
        """The offset of the next byte that is given."""
        return self._digest.position - len(self._held) + self._skip

    async def start(self, offset: int, waiting: Waiting) -> None:
        """Makes sure that the blob can be had, from an offset at or before the position.

        `waiting` is told here and below of what is waited for, and of the seconds that retries wait.
        """
        async with self._lock:
            if offset != self.position:
                await self._close()
                self._held = b""
                self._skip = offset - self._digest.go_back(offset)
            if not self._blob.size:
                self._accept(b"")
            elif not self._held and self._chunks is None:
                await self._receive(waiting)

    async def read(self, most: int, waiting: Waiting) -> bytes:
        """The next bytes, at most so many; none at the end."""
        async with self._lock:
            while not self._held and self.position < self._blob.size:
                await self._receive(waiting)
            given, self._held = self._held[:most], self._held[most:]
            return given

    async def release(self) -> None:
        """Gives the connection back; what is read afterwards takes another."""
        async with self._lock:
            await self._close()

    async def start_over(self) -> bool:
        """Back to the first byte, once, if parts of two versions may have been mixed: all is asked for."""
        was_mixed = isinstance(self.failure, errors.DigestMismatch) and self._was_resumed
        if not (was_mixed and self._may_start_over):
            return False
        async with self._lock:
            await self._close()
            self._held, self._skip = b"", 0
            self._digest.go_back(0)
        self._may_ask_for_part = self._may_start_over = False
        self.failure = None
        return True

    async def _receive(self, waiting: Waiting) -> None:
        """One chunk, over as many connections as the limits allow."""
        try:
            while (chunk := await self._try(waiting)) is None:
                pass
            self._accept(chunk)
        except errors.BrokerError as error:
            self.failure = error
            raise

    async def _try(self, waiting: Waiting) -> bytes | None:
        try:
            return await self._take(waiting)
        except errors.RegistryError as error:
            await self._close()
            wait = self._plan_or_raise(error)
        waiting.hold(wait)
        await asyncio.sleep(wait)
        return None

    async def _take(self, waiting: Waiting) -> bytes:
        try:
            if self._chunks is None:
                self._chunks = await self._open(self._digest.position, waiting)
            chunk = await anext(self._chunks, b"")
        except FAILURES as error:
            raise translate(error, self._subject) from error
        if not chunk:
            raise errors.RegistryUnreachable(
                f"{self._subject.registry} ended {self._blob.digest} after {self._digest.position} of "
                f"{self._blob.size} bytes.",
                **self._subject.members,
            )
        return chunk

    def _accept(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        is_whole = self._digest.position == self._blob.size
        if self._digest.position > self._blob.size or (is_whole and self._digest.digest != self._blob.digest):
            raise errors.DigestMismatch(
                f"{self._subject.registry} sent bytes for {self._blob.digest} that do not have that digest.",
                **self._subject.members,
            )
        skipped = min(self._skip, len(chunk))
        self._skip -= skipped
        self._held = chunk[skipped:]

    def _plan_or_raise(self, error: errors.RegistryError) -> float:
        if self._digest.position - self._failed_at >= self._source.state.limits.resume_bytes:
            self._attempt = 1
        self._failed_at = self._digest.position
        wait = plan_retry(
            Outcome(error.retryable, error.retry_after, was_lost(error)),
            attempt=self._attempt,
            spent=0.0,
            jitter=random.random(),  # noqa: S311 - spreads retries, protects nothing
            limits=self._source.state.limits,
        )
        if wait is None:
            raise error
        self._attempt += 1
        return wait

    # --- connections ---

    async def _open(self, offset: int, waiting: Waiting) -> AsyncIterator[bytes]:
        """A new connection to the bytes from an offset on (RFC 9110, section 14)."""
        wants_part = offset > 0 and self._may_ask_for_part
        headers = {"Range": f"bytes={offset}-"} if wants_part else {}
        request = await download_request(self._source, self._blob, headers=headers)
        redirects, registry_origin = RedirectFollower(self._source), request.url.origin
        while True:
            opening = self._source.state.outbound.open(request, waiting.queueing)
            response = await self._stream.enter_async_context(opening)
            self._was_resumed |= offset > 0
            opened = Answer.of(response)
            if opened.status == _PARTIAL and self._is_right_part(opened.headers.get("Content-Range"), offset):
                return body_of(response)
            if opened.status == _OK:
                # Ranges are optional: all of it comes again, and what is here already is dropped.
                return _without_first(body_of(response), offset)
            limit = self._source.state.limits.error_bytes
            is_useless = wants_part and opened.status in {_PARTIAL, _UNSATISFIABLE}
            answer = replace(opened, body=await read_start(response, 0 if is_useless else limit))
            await self._close()
            if is_useless:
                self._may_ask_for_part = False
                return await self._open(offset, waiting)
            if request.url.origin != registry_origin and answer.status in _STALE:
                raise self._stale(request, answer)
            request = await redirects.follow(request, answer)

    def _stale(self, request: Request, answer: Answer) -> errors.RegistryUnavailable:
        """Addresses elsewhere are signed for a while: the registry gives a new one, if it is asked again."""
        return errors.RegistryUnavailable(
            f"{request.url.origin}, to which {self._subject.registry} redirects, answered {answer.status} "
            f"to the GET of {self._blob.digest}.",
            **self._subject.members,
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
