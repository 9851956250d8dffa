"""Each project's usage of its quotas.

Triggers write a row for each change (migration 0019), in the transaction of the change. They also cover
processes of the previous version. The sum of the rows is exact, and transactions never wait for each other.
Housekeeping replaces many rows by their sum.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy import Table, func, select

from app.projects.quotas import Quota
from app.store import tokens
from app.store.database import Transaction
from app.store.tables import project_events, project_usage, webhooks


async def read_used(tx: Transaction, project_id: UUID, quotas: Collection[Quota]) -> Mapping[Quota, int]:
    """The project's usage of the quotas that triggers count."""
    statement = (
        select(project_usage.c.quota, func.sum(project_usage.c.amount))
        .where(project_usage.c.project_id == project_id, project_usage.c.quota.in_(sorted(quotas)))
        .group_by(project_usage.c.quota)
    )
    found = {quota: int(amount) for quota, amount in await tx.execute(statement)}
    return {quota: found.get(quota, 0) for quota in quotas}


async def count_rows(tx: Transaction, project_id: UUID) -> Mapping[Quota, int]:
    """Count the rows that triggers do not count, because there are few, or the count is not time-critical."""
    return {
        Quota.TOKENS: await tokens.count_live(tx, project_id),
        Quota.WEBHOOKS: await _count(tx, webhooks, project_id),
        Quota.EVENTS: await _count(tx, project_events, project_id),
    }


async def _count(tx: Transaction, table: Table, project_id: UUID) -> int:
    statement = select(func.count()).select_from(table).where(table.c.project_id == project_id)
    found: int = (await tx.execute(statement)).scalar_one()
    return found
