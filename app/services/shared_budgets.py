"""Shares the budgets of registries between workers, so that all keep to a limit that one has found."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from app.errors import Unavailable
from app.outbound.account_budgets import Budgets
from app.outbound.budget import BudgetUpdate
from app.store.budgets import RegistryBudget, budgets_since, save_budget
from app.store.database import Database
from app.store.notifications import REGISTRY_BUDGET, Notifications, Subscription
from app.store.row_security.scopes import SYSTEM

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
# Refusals come in bursts: one write covers a burst.
BATCH_SECONDS = 0.05
# Older updates no longer apply; the budgets of this process have grown again since.
FRESH = timedelta(minutes=1)


class SharedBudgets:
    """Stores the updates of this process's budgets, and applies those of the other processes."""

    def __init__(self, database: Database, notifications: Notifications, budgets: Budgets) -> None:
        self._database = database
        self._notifications = notifications
        self._budgets = budgets
        # By budget, with the loop's time of the update.
        self._updates: dict[str, tuple[BudgetUpdate, float]] = {}
        self._updated = Subscription()
        # By budget, the time of the newest row that was read or written here.
        self._known: dict[str, datetime] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        self._budgets.on_update = self._record
        try:
            async with (
                self._notifications.subscribe(REGISTRY_BUDGET) as changes,
                asyncio.TaskGroup() as group,
            ):
                group.create_task(self._write())
                group.create_task(self._read(changes))
        finally:
            self._budgets.on_update = None

    def _record(self, update: BudgetUpdate) -> None:
        self._updates[update.budget] = (update, asyncio.get_running_loop().time())
        self._updated.wake()

    async def _write(self) -> None:
        while True:
            if await self._updated.wait(POLL_SECONDS):
                await asyncio.sleep(BATCH_SECONDS)
            for budget in list(self._updates):
                await self._save(*self._updates.pop(budget))

    async def _save(self, update: BudgetUpdate, updated_at: float) -> None:
        passed = asyncio.get_running_loop().time() - updated_at
        pause = timedelta(seconds=max(0.0, update.pause - passed))
        try:
            async with self._database.transaction(SYSTEM) as tx:
                written = await save_budget(
                    tx, update.budget, pause, concurrency=update.concurrency, rate=update.rate
                )
            self._known[update.budget] = written
        except Unavailable:
            logger.warning("The budget of %s can't be shared: the database is unavailable", update.budget)
        except Exception:
            # This process keeps to the budget nevertheless.
            logger.exception("The budget of %s can't be shared", update.budget)

    async def _read(self, changes: Subscription) -> None:
        while True:
            try:
                await self._apply_new()
            except Unavailable:
                logger.warning("The shared budgets can't be read: the database is unavailable")
            except Exception:
                logger.exception("The shared budgets can't be read")
            await changes.wait(POLL_SECONDS)

    async def _apply_new(self) -> None:
        async with self._database.transaction(SYSTEM) as tx:
            found = await budgets_since(tx, FRESH)
        for each in found:
            if self._is_new(each):
                pause = each.blocked_for.total_seconds()
                self._budgets.apply_update(BudgetUpdate(each.registry, pause, each.concurrency, each.rate))
        known = self._known
        self._known = {
            each.registry: max(each.updated_at, known.get(each.registry, each.updated_at)) for each in found
        }

    def _is_new(self, budget: RegistryBudget) -> bool:
        known = self._known.get(budget.registry)
        return known is None or known < budget.updated_at
