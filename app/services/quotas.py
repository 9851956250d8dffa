"""Quotas: how much each project may keep."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from app.projects.quotas import Quota, Usage, refuse_excess
from app.store import tokens
from app.store.database import Database, Transaction
from app.store.quotas import usage

COUNTED = (Quota.LISTS, Quota.METADATA, Quota.MANIFESTS)


class Quotas:
    """Checks what a transaction has written, so that it needs no lock.

    A check does not see what other transactions have not committed yet. Together they exceed a limit by what
    runs at the same time, at most.
    """

    def __init__(self, database: Database, limits: Mapping[Quota, int]) -> None:
        self._database = database
        self._limits = limits

    def limit(self, quota: Quota) -> int:
        return self._limits[quota]

    async def check(self, tx: Transaction, project_id: UUID, grown: Collection[Quota]) -> None:
        """Raise QuotaExceeded if the transaction has grown one of these beyond its limit."""
        if not grown:
            return
        for quota, used in (await usage.read_used(tx, project_id, grown)).items():
            refuse_excess(quota, used, self._limits[quota])

    async def check_tokens(self, tx: Transaction, project_id: UUID) -> None:
        refuse_excess(Quota.TOKENS, await tokens.count_live(tx, project_id), self._limits[Quota.TOKENS])

    async def report(self, project_id: UUID) -> Mapping[Quota, Usage]:
        """What the project uses of each quota."""
        async with self._database.transaction(project_id) as tx:
            used = {
                **await usage.read_used(tx, project_id, COUNTED),
                **await usage.count_rows(tx, project_id),
            }
        return {quota: Usage(used[quota], self._limits[quota]) for quota in Quota}
