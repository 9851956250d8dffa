"""Searches use their indexes although policies bind the service."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import Select, Table, select, text

from app.store.database import Database
from app.store.paging import find_rows, newest_first
from app.store.row_security.roles import roles_of
from app.store.tables import lists, pushes
from tests.support.postgres import execute

# The rows that the transaction has read of a table.
READ = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = '{}'"
FILL_LISTS = """
    INSERT INTO lists (id, project_id, reference, registry, repository, created_by, labels)
    SELECT gen_random_uuid(), '{}', 'r.test/app:' || n, 'r.test', 'app', 'ci',
        jsonb_build_object('run', n % 500)
    FROM generate_series(1, 5000) AS n
"""
FILL_PUSHES = """
    INSERT INTO pushes
        (id, project_id, operation_id, reference, registry, repository, "references", digest, media_type, raw,
         plan, created_by)
    SELECT gen_random_uuid(), '{}', gen_random_uuid(), 'r.test/app:1', 'r.test', 'app',
        ARRAY['r.test/app:' || n % 500], 'sha256:a', 'a/b', '', '{{}}', 'ci'
    FROM generate_series(1, 5000) AS n
"""


@pytest.mark.parametrize(
    ("fill", "table", "query"),
    [
        (FILL_LISTS, lists, select(lists.c.id).where(lists.c.labels.contains({"run": 7}))),
        (FILL_PUSHES, pushes, select(pushes.c.id).where(pushes.c.references.contains(["r.test/app:7"]))),
    ],
    ids=["lists by label", "pushes by reference"],
)
async def test_a_search_of_a_large_project_reads_few_rows(
    database_url: str, project_id: UUID, fill: str, table: Table, query: Select[tuple[UUID]]
) -> None:
    await execute(database_url, fill.format(project_id))
    await execute(database_url, f"ANALYZE {table.name}")
    database = Database(database_url, roles=roles_of(database_url))
    page = newest_first(query.where(table.c.project_id == project_id), table, None, 50)
    async with database.transaction(project_id) as tx:
        assert len(await find_rows(tx, page, table, by_search=True)) == 10
        assert (await tx.execute(text(READ.format(table.name)))).scalar_one() < 100
    await database.dispose()
