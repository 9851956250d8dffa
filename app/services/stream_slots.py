"""The stream slots of this process. A stream costs memory, and ends only when its client disconnects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from uuid import UUID

from app.errors import TooManyStreams

RETRY_AFTER_SECONDS = 30


class StreamKind(StrEnum):
    """The kind of a stream."""

    PROJECT = "event"
    OPERATION = "operation"


class StreamSlots:
    """A maximum number of streams for each project and kind."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[tuple[UUID, StreamKind]] = Counter()

    @contextmanager
    def take(self, project_id: UUID, kind: StreamKind) -> Iterator[None]:
        """Take a slot for the length of the block, or raise TooManyStreams.

        The check and the increment are one step without an await, so concurrent calls never exceed the limit.
        """
        key = (project_id, kind)
        if self._taken[key] >= self._limit:
            raise TooManyStreams(
                f"The project already has {self._limit} {kind.value} streams here. End one, or retry later.",
                retry_after=RETRY_AFTER_SECONDS,
            )
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
