"""What is swept every minute is found by its index, and what is young is not looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import text

from app.store import budgets, deliveries, events, idempotency, lists, operations
from app.store.database import Database, Transaction

YOUNG = 5_000
MONTH = timedelta(days=30)

OPERATIONS = """
    INSERT INTO operations (id, project_id, kind, state, request, deadline_at, created_by, ended_at)
    SELECT gen_random_uuid(), :project_id, 'deliver', 'succeeded', '{}', now(), 'me', now()
    FROM generate_series(1, :count)
"""
EVENTS = """
    INSERT INTO project_events (project_id, kind, data)
    SELECT :project_id, 'list.changed', '{}' FROM generate_series(1, :count)
"""
KEYS = """
    INSERT INTO idempotency_keys (project_id, key, fingerprint, operation_id)
    SELECT :project_id, nth, '', gen_random_uuid() FROM generate_series(1, :count) AS nth
"""
BUDGETS = """
    INSERT INTO registry_budgets (registry, blocked_until, updated_at)
    SELECT concat(nth, CAST(CAST(:project_id AS uuid) AS text)), now(), now()
    FROM generate_series(1, :count) AS nth
"""
LISTS = """
    INSERT INTO lists (id, project_id, reference, registry, repository, created_by, complete_by)
    SELECT gen_random_uuid(), :project_id, nth, 'a', 'b', 'me', now() + interval '1 hour'
    FROM generate_series(1, :count) AS nth
"""
READ = """
    SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relname <> 'projects'
"""
Sweep = Callable[[Transaction], Awaitable[object]]


@pytest.mark.parametrize(
    ("fill", "sweep"),
    [
        (OPERATIONS, partial(operations.forget_ended, older_than=MONTH)),
        (OPERATIONS, partial(operations.forget_events, older_than=MONTH)),
        (OPERATIONS, deliveries.forget_old_deliveries),
        (EVENTS, events.forget_old_events),
        (KEYS, partial(idempotency.forget_expired, older_than=MONTH)),
        (BUDGETS, budgets.forget_old_budgets),
        (LISTS, lists.lock_late_list),
    ],
    ids=["ended", "steps", "deliveries", "events", "keys", "budgets", "late"],
)
async def test_a_sweep_does_not_scan_new_rows(
    database: Database, project_id: UUID, fill: str, sweep: Sweep
) -> None:
    async with database.transaction() as tx:
        await tx.execute(text(fill), {"project_id": project_id, "count": YOUNG})
    async with database.transaction() as tx:
        await tx.execute(text("ANALYZE"))
    async with database.transaction() as tx:
        assert not await sweep(tx)
        assert (await tx.execute(text(READ))).scalar_one() < YOUNG / 10


async def test_a_sweep_removes_a_batch(database: Database, project_id: UUID) -> None:
    for fill in (OPERATIONS, KEYS):
        async with database.transaction() as tx:
            await tx.execute(text(fill), {"project_id": project_id, "count": 5})
    async with database.transaction() as tx:
        await tx.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '31 days'"))
        await tx.execute(text("UPDATE operations SET ended_at = now() - interval '31 days'"))
        await tx.execute(
            text(
                "INSERT INTO operation_events (operation_id, kind, data) SELECT id, 'x', '{}' FROM operations"
            )
        )
    for sweep in (partial(idempotency.forget_expired, limit=3), partial(operations.forget_events, limit=3)):
        async with database.transaction() as tx:
            assert [await sweep(tx, MONTH) for _ in range(3)] == [3, 2, 0]
