"""Adapts the number of concurrent transfers of blobs to what a host bears.

Some registries take few uploads at once and refuse the others, while small requests are welcome. So transfers
have a limit of their own, which follows the refusals of transfers alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.concurrency.resizable import ResizableSemaphore
from app.outbound.adaptive import AdaptiveLimit

__all__ = ["TransferLimit", "TransferLimits", "TransferSlots"]

_KEPT = 1024


class TransferLimit:
    """How many transfers may be under way at once; pure.

    It adapts as `AdaptiveLimit` does, with two differences. A refusal does not lower it below the number of
    transfers that the host is still working on: so many are borne. If there are none, the refusal is about
    something else. A success raises the limit only if at least half of the slots were in use: fewer transfers
    don't show that more would be borne (as in Netflix' concurrency-limits).
    """

    def __init__(self, most: int) -> None:
        self._limit = AdaptiveLimit(most)

    @property
    def size(self) -> int:
        return self._limit.size

    @property
    def is_full(self) -> bool:
        return self._limit.is_full

    def record_success(self, *, in_use: int) -> None:
        """`in_use` are the slots that transfers hold."""
        self._limit.record(is_refused=False)
        if 2 * in_use >= self.size:
            self._limit.grow()

    def record_refusal(self, *, others: int) -> None:
        """`others` are the transfers that were under way when the refusal arrived."""
        self._limit.record(is_refused=True)
        if others:
            self._limit.shrink(least=others)


class TransferSlots:
    """The transfers of one account with one host in one direction."""

    def __init__(self, most: int) -> None:
        self.semaphore = ResizableSemaphore(most)
        self._limit = TransferLimit(most)
        self._under_way = 0

    @property
    def is_default(self) -> bool:
        """Whether new slots would be the same."""
        return self._limit.is_full and not self.semaphore.users and not self._under_way

    @property
    def others(self) -> int:
        """The transfers under way besides the one that asks."""
        return self._under_way - 1

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """A transfer that is sent; slots are taken earlier, and also held while a transfer waits."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def record(self, *, is_refused: bool) -> None:
        """Adapt to the response to a transfer that is under way."""
        if is_refused:
            self._limit.record_refusal(others=self.others)
        else:
            self._limit.record_success(in_use=self.semaphore.users)
        self.semaphore.resize(self._limit.size)


class TransferLimits:
    """The transfers by host and account: no account learns from another, and none waits for another."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._slots: dict[tuple[str, str | None], TransferSlots] = {}

    def of(self, host: str, account: str | None) -> TransferSlots:
        slots = self._slots.get((host, account))
        if slots is None:
            # Callers may name any number of hosts: slots without changes are not worth their memory.
            if len(self._slots) >= _KEPT:
                self._slots = {key: each for key, each in self._slots.items() if not each.is_default}
            slots = self._slots[host, account] = TransferSlots(self._most)
        return slots
