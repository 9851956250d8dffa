"""What registries bear, as one worker learnt it for all; times are on the database's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from app.store.database import Transaction
from app.store.notifications import OPERATION_QUEUED, REGISTRY_BUDGET, notify
from app.store.tables import registry_budgets

CLOCK = func.clock_timestamp()
# For conditions, which no index serves if they are volatile.
NOW = func.statement_timestamp()
KEPT_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RegistryBudget:
    """`blocked_for` is what is left of the pause; `concurrency` and `rate` are one worker's share."""

    registry: str
    blocked_for: timedelta
    concurrency: int | None
    rate: float | None
    updated_at: datetime


async def learn(
    tx: Transaction, registry: str, pause: timedelta, *, concurrency: int | None, rate: float | None
) -> datetime:
    """Keeps what a registry taught, and tells all workers; a pause that is under way is never cut short.

    The answer is when it was written, by which its reader knows it again.
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
    # Who sleeps until the next operation is due wakes in time for the end of the pause.
    await notify(tx, OPERATION_QUEUED)
    return written


async def learnt_since(tx: Transaction, age: timedelta) -> list[RegistryBudget]:
    """What was learnt in the last while, and every pause that is not over."""
    left = registry_budgets.c.blocked_until - CLOCK
    statement = select(registry_budgets, left.label("left")).where(
        (registry_budgets.c.updated_at > CLOCK - age) | (registry_budgets.c.blocked_until > CLOCK)
    )
    return [
        RegistryBudget(row.registry, max(row.left, timedelta(0)), row.concurrency, row.rate, row.updated_at)
        for row in await tx.execute(statement)
    ]


async def forget_old_budgets(tx: Transaction) -> int:
    """Removes what is too old to be true of a registry."""
    statement = delete(registry_budgets).where(
        registry_budgets.c.updated_at < NOW - KEPT_FOR, registry_budgets.c.blocked_until < NOW
    )
    return (await tx.execute(statement)).rowcount
