"""The slots of one worker: which operations hold them, and what the worker may claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from uuid import UUID

from app.operations.capacity import (
    Bulkhead,
    CapacityPool,
    FreeSlots,
    Share,
    bulkhead_slots,
    project_bulkhead_slots,
    project_slots,
)
from app.runner.lease import Lease


class Capacity:
    """Each held lease takes a slot of the worker, of its pool if it has one, and of its bulkhead.

    A project has at most `project_share` of the slots of the worker, and of those of each bulkhead.
    """

    def __init__(
        self,
        slots: int,
        *,
        bulkhead_limit: int,
        pools: Sequence[CapacityPool] = (),
        project_share: float = 1.0,
    ) -> None:
        self._slots = slots
        self._bulkhead_limit = bulkhead_limit
        self._project_share = project_share
        self._pools = tuple(pools)
        # By identity: an operation that was given back may be claimed again before its old lease is released.
        self._held: set[Lease] = set()

    @property
    def held(self) -> Collection[Lease]:
        return self._held

    @property
    def free(self) -> int:
        return self._slots - len(self._held)

    def take(self, lease: Lease) -> None:
        self._held.add(lease)

    def release(self, lease: Lease) -> None:
        self._held.remove(lease)

    def free_slots(self) -> FreeSlots:
        """The slots that a claim may fill now."""
        return FreeSlots(
            self.free,
            self._bulkhead_limit,
            {pool: self._free_in_pool(pool) for pool in self._pools},
            self._running(),
            self._project_share,
            Counter(map(_share, self._held)),
        )

    def has_free_slots_everywhere(self) -> bool:
        """Whether no operation waits for a slot of this worker."""
        return (
            all(self._free_in_pool(pool) > 0 for pool in self._pools)
            and all(self._has_free_slot(bulkhead) for bulkhead in ((), *self._running()))
            and not self._full_shares(now := self.free_slots(), now.held)
        )

    def can_claim_more_than(self, asked: FreeSlots, claimed: Sequence[Lease]) -> bool:
        """Whether a claim filled all slots that it `asked` for, and slots have become free meanwhile."""
        if len(claimed) == asked.slots and self.free > 0:
            return True
        for pool, free in asked.pools.items():
            if _count(claimed, pool) >= free and self._free_in_pool(pool) > 0:
                return True
        filled = self._full_shares(asked, asked.held + Counter(map(_share, claimed)))
        if self.free > 0 and filled - self._full_shares(now := self.free_slots(), now.held):
            return True
        taken = Counter(asked.running) + Counter(lease.bulkhead for lease in claimed if lease.bulkhead)
        return any(
            self._has_free_slot(bulkhead) for bulkhead in taken if self._was_filled(bulkhead, asked, taken)
        )

    def _was_filled(self, bulkhead: Bulkhead, asked: FreeSlots, taken: Counter[Bulkhead]) -> bool:
        free = min([asked.slots, *(asked.pools[pool] for pool in self._pools_of(bulkhead))])
        running = asked.running.get(bulkhead, 0)
        return taken[bulkhead] >= bulkhead_slots(self._bulkhead_limit, free, running)

    def _has_free_slot(self, bulkhead: Bulkhead) -> bool:
        free = min([self.free, *(self._free_in_pool(pool) for pool in self._pools_of(bulkhead))])
        running = self._running()[bulkhead]
        return free > 0 and (not bulkhead or running < bulkhead_slots(self._bulkhead_limit, free, running))

    def _full_shares(self, at: FreeSlots, held: Counter[Share]) -> set[Share]:
        """The shares of projects in the worker, or in a bulkhead, that `held` fills.

        The size of each share comes from `at`, the free slots at the time of the claim.
        """
        full: set[Share] = set()
        own, own_then = _by_project(held), _by_project(at.held)
        for (project_id, bulkhead), count in held.items():
            slots = at.slots + own_then[project_id]
            if own[project_id] >= project_slots(at.project_share, slots):
                full.add((project_id, ()))
            free = min([at.slots, *(at.pools[pool] for pool in self._pools_of(bulkhead))])
            slots = bulkhead_slots(at.bulkhead_limit, free, at.running.get(bulkhead, 0))
            if bulkhead and count >= project_bulkhead_slots(at.project_share, slots):
                full.add((project_id, bulkhead))
        return full

    def _free_in_pool(self, pool: CapacityPool) -> int:
        return pool.slots(self._slots) - _count(self._held, pool)

    def _pools_of(self, bulkhead: Bulkhead) -> list[CapacityPool]:
        kinds = {lease.kind for lease in self._held if lease.bulkhead == bulkhead}
        return [pool for pool in self._pools if kinds & pool.kinds]

    def _running(self) -> Counter[Bulkhead]:
        return Counter(lease.bulkhead for lease in self._held if lease.bulkhead)


def _count(leases: Collection[Lease], pool: CapacityPool) -> int:
    return sum(lease.kind in pool.kinds for lease in leases)


def _share(lease: Lease) -> Share:
    return lease.project_id, lease.bulkhead


def _by_project(held: Counter[Share]) -> Counter[UUID]:
    own: Counter[UUID] = Counter()
    for (project_id, _), count in held.items():
        own[project_id] += count
    return own
