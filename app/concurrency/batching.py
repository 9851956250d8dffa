"""Work on one thing, done for all together who come while it is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")

# What became of each item, in their order; None is well.
Outcomes = Sequence[Exception | None]
Perform = Callable[[Key, Sequence[Item]], Awaitable[Outcomes]]


@dataclass(eq=False, slots=True)
class _Ticket(Generic[Item]):
    item: Item
    is_done: bool = False
    failure: Exception | None = None


@dataclass(eq=False, slots=True)
class _Line(Generic[Item]):
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: list[_Ticket[Item]] = field(default_factory=list)


class Gatherer(Generic[Key, Item]):
    """One round at a time for each key; what comes while a round is under way is done in the next one.

    A round is run in the task of one of those that it is for. If that task is cancelled, the round is done
    anew, in the task of another, for the rest of them.
    """

    def __init__(self, perform: Perform[Key, Item]) -> None:
        self._perform = perform
        self._lines: dict[Key, _Line[Item]] = {}

    async def run(self, key: Key, item: Item) -> None:
        """Until a round with this item is over; raises what became of the item, or of its whole round."""
        ticket, line = _Ticket(item), self._lines.setdefault(key, _Line())
        line.waiting.append(ticket)
        try:
            async with line.turn:
                if not ticket.is_done:
                    await self._round(key, [each for each in line.waiting if not each.is_done])
        finally:
            line.waiting.remove(ticket)
            if not line.waiting:
                self._lines.pop(key, None)
        if ticket.failure is not None:
            raise ticket.failure

    async def _round(self, key: Key, tickets: Sequence[_Ticket[Item]]) -> None:
        try:
            outcomes = await self._perform(key, [ticket.item for ticket in tickets])
        except Exception as failure:  # noqa: BLE001 - each of them raises it
            outcomes = [failure] * len(tickets)
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            ticket.is_done, ticket.failure = True, outcome
