"""Enforces the quotas on each project's stored data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from app.projects.quotas import Quota, Usage, refuse_excess
from app.store import tokens
from app.store.database import Database, Transaction
from app.store.quotas import usage

COUNTED = (Quota.LISTS, Quota.METADATA, Quota.MANIFESTS)


class Quotas:
    """Checks the usage after a transaction's writes, so that it needs no lock.

    A check does not see the uncommitted writes of other transactions. So concurrent transactions together can
    exceed a limit, at most by their own writes.
    """

    def __init__(self, database: Database, limits: Mapping[Quota, int]) -> None:
        self._database = database
        self._limits = limits

    def limit(self, quota: Quota) -> int:
        return self._limits[quota]

    async def check(self, tx: Transaction, project_id: UUID, grown: Collection[Quota]) -> None:
        """Raise QuotaExceeded if the transaction has raised the usage of one of these beyond its limit."""
        if not grown:
            return
        for quota, used in (await usage.read_used(tx, project_id, grown)).items():
            refuse_excess(quota, used, self._limits[quota])

    async def check_tokens(self, tx: Transaction, project_id: UUID) -> None:
        refuse_excess(Quota.TOKENS, await tokens.count_live(tx, project_id), self._limits[Quota.TOKENS])

    async def report(self, project_id: UUID) -> Mapping[Quota, Usage]:
        """The project's usage of each quota."""
        async with self._database.transaction(project_id) as tx:
            used = {
                **await usage.read_used(tx, project_id, COUNTED),
                **await usage.count_rows(tx, project_id),
            }
        return {quota: Usage(used[quota], self._limits[quota]) for quota in Quota}
