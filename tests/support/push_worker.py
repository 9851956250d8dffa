"""A worker to be killed that does real work, with settings as any: `python -m tests.support.push_worker`."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta

from app.operations.retries import RetryPolicy
from app.settings import Settings
from app.wiring import build_parts, running_with_worker
from tests.support.registry_clients import QUICK
from tests.support.workers import end_with_parent

# Short enough for a test to see it run out, long enough for a machine that is busy with others.
LEASE = timedelta(seconds=3)
# Each death counts as an attempt, and here many are meant to.
POLICY = RetryPolicy(max_attempts=100, base=0.05, cap=0.2, shortest_wait=0.01)


async def main() -> None:
    settings = Settings()
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    parts = build_parts(settings, url, push=POLICY, prompt=POLICY, delivery=POLICY, limits=QUICK)
    async with running_with_worker(settings, parts, POLICY, lease=LEASE):
        await end_with_parent(os.getppid())


if __name__ == "__main__":
    asyncio.run(main())
