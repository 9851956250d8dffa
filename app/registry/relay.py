"""Hands a blob's bytes on as they come, and keeps the last of them back until the whole is verified."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable

from app import errors
from app.oci.descriptor import Descriptor
from app.registry.errors import FAILURES, Subject, translate
from app.registry.limits import Limits

__all__ = ["Pace", "Relay"]


class Pace:
    """Moves a deadline on each time that enough bytes have passed: a trickle ends, a river goes on."""

    def __init__(self, deadline: asyncio.Timeout, limits: Limits, *, size: int) -> None:
        self._deadline = deadline
        self._limits = limits
        self._left = size
        self._passed = 0

    def start(self) -> None:
        self._move(self._limits.stall_seconds)

    def passed(self, size: int) -> None:
        self._left -= size
        self._passed += size
        if self._left <= 0:
            # A registry may hash all of it once more before it answers.
            self._move(max(self._limits.call_seconds, self._limits.stall_seconds))
        elif self._passed >= self._limits.stall_bytes:
            self._passed = 0
            self._move(self._limits.stall_seconds)

    def _move(self, seconds: float) -> None:
        self._deadline.reschedule(asyncio.get_running_loop().time() + seconds)


class Relay:
    """An async iterator over a blob's chunks: what it gives in full has the descriptor's size and digest.

    It is read by the HTTP library, which hides why a body failed; `failure` keeps it.
    """

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        blob: Descriptor,
        subject: Subject,
        *,
        on_bytes: tuple[Callable[[int], None], ...] = (),
    ) -> None:
        self._chunks = chunks
        self._blob = blob
        self._subject = subject
        self._on_bytes = on_bytes
        self._hash = hashlib.new(blob.digest.algorithm)
        self._size = 0
        self.failure: errors.BrokerError | None = None

    def __aiter__(self) -> Relay:
        return self

    async def __anext__(self) -> bytes:
        if self.failure is not None or (self._size == self._blob.size and self._size):
            raise StopAsyncIteration
        try:
            chunk = await self._take()
        except errors.BrokerError as error:
            self.failure = error
            raise
        if not chunk:
            raise StopAsyncIteration
        for told in self._on_bytes:
            told(len(chunk))
        return chunk

    async def _take(self) -> bytes:
        try:
            chunk = await anext(self._chunks, b"")
        except FAILURES as error:
            raise translate(error, self._subject) from error
        self._hash.update(chunk)
        self._size += len(chunk)
        if self._size >= self._blob.size or not chunk:
            self._check()
        return chunk

    def _check(self) -> None:
        if self._size < self._blob.size:
            raise errors.RegistryUnreachable(
                f"{self._subject.registry} ended {self._blob.digest} after {self._size} of "
                f"{self._blob.size} bytes",
                **self._subject.members,
            )
        if self._size > self._blob.size or self._hash.hexdigest() != self._blob.digest.hex:
            raise errors.DigestMismatch(
                f"{self._subject.registry} sent other bytes for {self._blob.digest} than its digest says",
                **self._subject.members,
            )
