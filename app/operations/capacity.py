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
    """What a worker can take.

    `slots` are its free slots, and `pools` has those of each capacity pool. A bulkhead has at most
    `bulkhead_limit` slots, of which `running` says how many are taken. A project has at most
    `project_share` of them, and of those of each bulkhead; `held` says how many it has taken.
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
    """How many of the slots of a worker the operations of one project may have.

    The statement of the claim computes the same.
    """
    return max(1, int(share * slots))


def project_bulkhead_slots(share: float, slots: int) -> int:
    """How many of the slots of a bulkhead the operations of one project may have.

    A bulkhead of few slots may be full of one project. The statement of the claim computes the same.
    """
    return math.ceil(share * slots)
