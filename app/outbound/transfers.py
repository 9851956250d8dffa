"""Adapts the number of concurrent blob transfers to the capacity of a host.

Some registries accept few concurrent uploads and refuse further ones, while they still accept small requests.
So transfers have a limit of their own, and only refusals of transfers lower it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.concurrency.resizable import ResizableSemaphore
from app.outbound.adaptive import AdaptiveLimit

__all__ = ["TransferLimit", "TransferLimits", "TransferSlots"]

_KEPT = 1024


class TransferLimit:
    """The maximum number of concurrent transfers; pure.

    It adapts like `AdaptiveLimit`, with two differences. A refusal does not lower the limit below the number
    of transfers still in flight, since the host evidently accepts those. If none is in flight, the refusal
    has another cause. A success raises the limit only if at least half of the slots were in use, because
    fewer transfers are no evidence of spare capacity (as in Netflix' concurrency-limits).
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
        """Record a success; `in_use` is the number of slots that transfers hold."""
        self._limit.record(is_refused=False)
        if 2 * in_use >= self.size:
            self._limit.grow()

    def record_refusal(self, *, others: int) -> None:
        """Record a refusal; `others` is the number of other transfers in flight when it arrived."""
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
        """Whether these slots are still in their initial state."""
        return self._limit.is_full and not self.semaphore.users and not self._under_way

    @property
    def others(self) -> int:
        """The number of other transfers in flight."""
        return self._under_way - 1

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Count a transfer in flight. Slots are taken earlier, and also held while a transfer waits."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def record(self, *, is_refused: bool) -> None:
        """Adapt to the response to a transfer in flight."""
        if is_refused:
            self._limit.record_refusal(others=self.others)
        else:
            self._limit.record_success(in_use=self.semaphore.users)
        self.semaphore.resize(self._limit.size)


class TransferLimits:
    """The transfers by host and account. Accounts share neither limits nor slots."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._slots: dict[tuple[str, str | None], TransferSlots] = {}

    def of(self, host: str, account: str | None) -> TransferSlots:
        slots = self._slots.get((host, account))
        if slots is None:
            # Callers may name any number of hosts, so slots in their initial state are dropped to save
            # memory.
            if len(self._slots) >= _KEPT:
                self._slots = {key: each for key, each in self._slots.items() if not each.is_default}
            slots = self._slots[host, account] = TransferSlots(self._most)
        return slots
