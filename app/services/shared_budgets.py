"""What registries bear, shared between all workers: learnt by one, kept to by all."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from app.errors import Unavailable
from app.outbound.budget import Budgets, BudgetUpdate
from app.store.budgets import RegistryBudget, learn, learnt_since
from app.store.database import Database
from app.store.notifications import REGISTRY_BUDGET, Notifications, Subscription

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
# Refusals come in crowds: what they teach is written once for all of them.
GATHER_SECONDS = 0.05
# What is older was learnt under other circumstances; the budgets here have grown again by then.
FRESH = timedelta(minutes=1)


class Registries:
    """Writes what this process learns of registries, and takes over what the others have written."""

    def __init__(self, database: Database, notifications: Notifications, budgets: Budgets) -> None:
        self._database = database
        self._notifications = notifications
        self._budgets = budgets
        self._lessons: dict[str, tuple[BudgetUpdate, float]] = {}
        self._learnt = Subscription()
        # By registry, when what was read or written last had been written.
        self._known: dict[str, datetime] = {}

    async def run(self) -> None:
        """Until cancelled."""
        self._budgets.on_update = self._note
        try:
            async with (
                self._notifications.subscribe(REGISTRY_BUDGET) as news,
                asyncio.TaskGroup() as group,
            ):
                group.create_task(self._write())
                group.create_task(self._read(news))
        finally:
            self._budgets.on_update = None

    def _note(self, lesson: BudgetUpdate) -> None:
        self._lessons[lesson.budget] = (lesson, asyncio.get_running_loop().time())
        self._learnt.wake()

    async def _write(self) -> None:
        while True:
            if await self._learnt.wait(POLL_SECONDS):
                await asyncio.sleep(GATHER_SECONDS)
            for budget in list(self._lessons):
                await self._keep(*self._lessons.pop(budget))

    async def _keep(self, lesson: BudgetUpdate, heard_at: float) -> None:
        passed = asyncio.get_running_loop().time() - heard_at
        pause = timedelta(seconds=max(0.0, lesson.pause - passed))
        try:
            async with self._database.transaction() as tx:
                written = await learn(
                    tx, lesson.budget, pause, concurrency=lesson.concurrency, rate=lesson.rate
                )
            self._known[lesson.budget] = written
        except Unavailable:
            logger.warning("What %s bears can't be told to the other workers", lesson.budget)
        except Exception:
            # The registry is asked with care here all the same.
            logger.exception("What %s bears can't be written", lesson.budget)

    async def _read(self, news: Subscription) -> None:
        while True:
            try:
                await self._take_over()
            except Unavailable:
                logger.warning("What registries bear can't be read at the moment")
            except Exception:
                logger.exception("What registries bear can't be read")
            await news.wait(POLL_SECONDS)

    async def _take_over(self) -> None:
        async with self._database.transaction() as tx:
            found = await learnt_since(tx, FRESH)
        for each in found:
            if self._is_news(each):
                pause = each.blocked_for.total_seconds()
                self._budgets.apply_update(BudgetUpdate(each.registry, pause, each.concurrency, each.rate))
        known = self._known
        self._known = {
            each.registry: max(each.updated_at, known.get(each.registry, each.updated_at)) for each in found
        }

    def _is_news(self, budget: RegistryBudget) -> bool:
        known = self._known.get(budget.registry)
        return known is None or known < budget.updated_at
