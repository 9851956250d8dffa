"""The budgets of registries, which all workers share; times are on the database's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from app.store.database import Transaction
from app.store.notifications import OPERATION_QUEUED, REGISTRY_BUDGET, notify
from app.store.tables import registry_budgets

CLOCK = func.clock_timestamp()
# For conditions: no index serves a volatile function.
NOW = func.statement_timestamp()
KEPT_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RegistryBudget:
    """`blocked_for` is the rest of the pause; `concurrency` and `rate` are the share of one worker."""

    registry: str
    blocked_for: timedelta
    concurrency: int | None
    rate: float | None
    updated_at: datetime


async def save_budget(
    tx: Transaction, registry: str, pause: timedelta, *, concurrency: int | None, rate: float | None
) -> datetime:
    """Store a budget and notify all workers; never cut short a pause that has begun.

    Returns the time of the row, by which its writer recognises it.
    """
    statement = insert(registry_budgets).values(
        registry=registry,
        blocked_until=CLOCK + pause,
        concurrency=concurrency,
        rate=rate,
        updated_at=CLOCK,
    )
    new = statement.excluded
    upsert = statement.on_conflict_do_update(
        index_elements=[registry_budgets.c.registry],
        set_={
            "blocked_until": func.greatest(registry_budgets.c.blocked_until, new.blocked_until),
            "concurrency": new.concurrency,
            "rate": new.rate,
            "updated_at": new.updated_at,
        },
    ).returning(registry_budgets.c.updated_at)
    written: datetime = (await tx.execute(upsert)).scalar_one()
    await notify(tx, REGISTRY_BUDGET, registry)
    # Workers that sleep until the next operation is due now wake in time for the end of the pause.
    await notify(tx, OPERATION_QUEUED)
    return written


async def budgets_since(tx: Transaction, age: timedelta) -> list[RegistryBudget]:
    """The budgets that changed within `age`, and every budget whose pause is not over."""
    left = registry_budgets.c.blocked_until - CLOCK
    statement = select(registry_budgets, left.label("left")).where(
        (registry_budgets.c.updated_at > CLOCK - age) | (registry_budgets.c.blocked_until > CLOCK)
    )
    return [
        RegistryBudget(row.registry, max(row.left, timedelta(0)), row.concurrency, row.rate, row.updated_at)
        for row in await tx.execute(statement)
    ]


async def forget_old_budgets(tx: Transaction) -> int:
    """Remove budgets that are too old to describe their registries."""
    statement = delete(registry_budgets).where(
        registry_budgets.c.updated_at < NOW - KEPT_FOR, registry_budgets.c.blocked_until < NOW
    )
    return (await tx.execute(statement)).rowcount
