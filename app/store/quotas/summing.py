"""Compacts usage rows: replaces the rows of many changes by their sum."""

from __future__ import annotations

from sqlalchemy import text

from app.store.database import Transaction

# The number of rows that one statement replaces, and the number of rows of one sum that may remain.
SUMMED_AT_ONCE = 10_000
_LEFT = 10

_SUM = text("""
    WITH busy AS (
        SELECT project_id, quota FROM project_usage GROUP BY 1, 2 HAVING count(*) > :left
    ), gone AS (
        DELETE FROM project_usage WHERE id IN (
            SELECT id FROM project_usage JOIN busy USING (project_id, quota)
            LIMIT :limit FOR UPDATE OF project_usage SKIP LOCKED
        ) RETURNING project_id, quota, amount
    ), summed AS (
        INSERT INTO project_usage (project_id, quota, amount)
        SELECT project_id, quota, sum(amount) FROM gone GROUP BY 1, 2
    )
    SELECT count(*) FROM gone
""")


async def sum_up(tx: Transaction) -> int:
    """Replace rows by their sum; return the number of replaced rows."""
    replaced: int = (await tx.execute(_SUM, {"left": _LEFT, "limit": SUMMED_AT_ONCE})).scalar_one()
    return replaced
