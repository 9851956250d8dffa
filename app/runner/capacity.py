"""The slots of one worker: which operations hold them, and what the worker may claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from app.operations.capacity import Bulkhead, CapacityPool, FreeSlots, bulkhead_slots
from app.runner.lease import Lease


class Capacity:
    """Each held lease takes a slot of the worker, of its pool if it has one, and of its bulkhead."""

    def __init__(self, slots: int, *, bulkhead_limit: int, pools: Sequence[CapacityPool] = ()) -> None:
        self._slots = slots
        self._bulkhead_limit = bulkhead_limit
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
        )

    def has_free_slots_everywhere(self) -> bool:
        """Whether no operation waits for a slot of this worker."""
        return all(self._free_in_pool(pool) > 0 for pool in self._pools) and all(
            self._has_free_slot(bulkhead) for bulkhead in ((), *self._running())
        )

    def can_claim_more_than(self, asked: FreeSlots, claimed: Sequence[Lease]) -> bool:
        """Whether a claim filled all slots that it `asked` for, and slots have become free meanwhile."""
        if len(claimed) == asked.slots and self.free > 0:
            return True
        for pool, free in asked.pools.items():
            if _count(claimed, pool) >= free and self._free_in_pool(pool) > 0:
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

    def _free_in_pool(self, pool: CapacityPool) -> int:
        return pool.slots(self._slots) - _count(self._held, pool)

    def _pools_of(self, bulkhead: Bulkhead) -> list[CapacityPool]:
        kinds = {lease.kind for lease in self._held if lease.bulkhead == bulkhead}
        return [pool for pool in self._pools if kinds & pool.kinds]

    def _running(self) -> Counter[Bulkhead]:
        return Counter(lease.bulkhead for lease in self._held if lease.bulkhead)


def _count(leases: Collection[Lease], pool: CapacityPool) -> int:
    return sum(lease.kind in pool.kinds for lease in leases)
