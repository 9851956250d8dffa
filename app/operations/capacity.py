"""How the slots of a worker are divided: into capacity pools by kind, and into bulkheads by registry."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from app.operations.states import Kind

# The registries that an operation asks, sorted: operations that ask the same ones share a bulkhead.
Bulkhead = tuple[str, ...]
# A project in a bulkhead.
Share = tuple[UUID, Bulkhead]

UNLIMITED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class CapacityPool:
    """Kinds of operations that together have at most this share of the slots of each worker."""

    kinds: frozenset[Kind]
    share: float

    def slots(self, worker_slots: int) -> int:
        return max(1, int(worker_slots * self.share))


@dataclass(frozen=True, slots=True)
class FreeSlots:
    """The free capacity of a worker.

    `slots` is the number of free slots, and `pools` holds the free slots of each capacity pool.
    `bulkhead_limit` is the maximum for each bulkhead, and `running` counts the slots that each has taken.
    `project_share` is the maximum share of one project, both of the worker's slots and of each bulkhead's.
    `held` counts the slots that each project has taken.
    """

    slots: int
    bulkhead_limit: int = UNLIMITED
    pools: Mapping[CapacityPool, int] = field(default_factory=dict)
    running: Mapping[Bulkhead, int] = field(default_factory=dict)
    project_share: float = 1.0
    held: Counter[Share] = field(default_factory=Counter)


def bulkhead_slots(limit: int, free: int, running: int) -> int:
    """How many slots a bulkhead may have in a worker that runs `running` of its operations.

    A bulkhead takes no more slots than it leaves free. The statement of the claim computes the same.
    """
    return min(limit, (free + running + 1) // 2)


def project_slots(share: float, slots: int) -> int:
    """The maximum number of a worker's slots for the operations of one project.

    The claim's SQL statement computes the same number.
    """
    return max(1, int(share * slots))


def project_bulkhead_slots(share: float, slots: int) -> int:
    """The maximum number of a bulkhead's slots for the operations of one project.

    One project may fill a small bulkhead. The claim's SQL statement computes the same number.
    """
    return math.ceil(share * slots)
