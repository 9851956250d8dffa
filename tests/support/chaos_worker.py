"""A worker to be killed: `python -m tests.support.chaos_worker URL SEED` takes operations until it is."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from datetime import timedelta

from sqlalchemy import func, select, text

from app.errors import RegistryUnavailable
from app.operations.progress import Progress
from app.operations.retries import RetryPolicy
from app.operations.states import Kind
from app.runner.runner import Runner
from app.services.operations.attempts import Attempt, Handler
from app.store.database import Database
from app.store.notifications import Notifications
from tests.support.postgres import connected
from tests.support.workers import end_with_parent

LEASE = timedelta(seconds=2)
FAILURES = 0.1

TABLES = (
    "CREATE TABLE effects (operation_id uuid, attempt int)",
    "CREATE TABLE shared_keys (key text)",
)


class ChaosWork:
    """Holds a lock of the server for each key while it works, which a killed process loses at once.

    Its only effect is a row in the transaction that records the success.
    """

    def __init__(self, url: str, database: Database, seed: int) -> None:
        self._url = url
        self._database = database
        self._random = random.Random(seed)

    async def perform(self, attempt: Attempt) -> None:
        async with connected(self._url) as connection:
            for key in attempt.operation.keys:
                taken = await connection.execute(select(func.pg_try_advisory_lock(func.hashtext(key))))
                if not taken.scalar_one():
                    await connection.execute(text("INSERT INTO shared_keys VALUES (:key)"), {"key": key})
            await self._work(attempt)
        async with self._database.transaction() as tx:
            await tx.execute(
                text("INSERT INTO effects VALUES (:id, :attempt)"),
                {"id": attempt.operation.id, "attempt": attempt.operation.attempt},
            )
            await attempt.succeed(tx, {"attempt": attempt.operation.attempt})

    async def _work(self, attempt: Attempt) -> None:
        for done in range(1, 5):
            await asyncio.sleep(self._random.random() * 0.1)
            attempt.progress(Progress(bytes_done=done, bytes_total=4))
        if self._random.random() < FAILURES:
            raise RegistryUnavailable("The registry had a bad moment.")


async def main(url: str, seed: int) -> None:
    database, notifications = Database(url), Notifications(url)
    runner = Runner(
        database,
        notifications,
        {Kind.PUSH_LIST: Handler(ChaosWork(url, database, seed).perform)},
        concurrency=4,
        lease=LEASE,
        beat=LEASE / 4,
        poll=timedelta(seconds=0.5),
        policy=RetryPolicy(max_attempts=1000, base=0.05, cap=0.2),
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(end_with_parent(os.getppid()))
        group.create_task(notifications.run())
        group.create_task(runner.run())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
