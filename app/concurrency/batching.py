"""Batches the work on one key that arrives while earlier work on it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Batcher", "Outcomes"]

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")

# One for each item, in the same order; None is success.
Outcomes = Sequence[Exception | None]
Perform = Callable[[Key, Sequence[Item]], Awaitable[Outcomes]]


@dataclass(eq=False, slots=True)
class _Ticket(Generic[Item]):
    item: Item
    is_done: bool = False
    failure: Exception | None = None


@dataclass(eq=False, slots=True)
class _Queue(Generic[Item]):
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: list[_Ticket[Item]] = field(default_factory=list)


class Batcher(Generic[Key, Item]):
    """Runs one batch at a time for each key; items that arrive during a batch form the next one.

    One of the waiting tasks runs the batch. If that task is cancelled, another runs the batch again for the
    items that remain.
    """

    def __init__(self, perform: Perform[Key, Item]) -> None:
        self._perform = perform
        self._queues: dict[Key, _Queue[Item]] = {}

    async def run(self, key: Key, item: Item) -> None:
        """Return when a batch with this item has ended; raise the failure of the item or of its batch."""
        ticket, queue = _Ticket(item), self._queues.setdefault(key, _Queue())
        queue.waiting.append(ticket)
        try:
            async with queue.lock:
                if not ticket.is_done:
                    await self._run_batch(key, [each for each in queue.waiting if not each.is_done])
        finally:
            queue.waiting.remove(ticket)
            if not queue.waiting:
                self._queues.pop(key, None)
        if ticket.failure is not None:
            raise ticket.failure

    async def _run_batch(self, key: Key, tickets: Sequence[_Ticket[Item]]) -> None:
        try:
            outcomes = await self._perform(key, [ticket.item for ticket in tickets])
        except Exception as failure:  # noqa: BLE001 - every caller of the batch raises it
            outcomes = [failure] * len(tickets)
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            ticket.is_done, ticket.failure = True, outcome
