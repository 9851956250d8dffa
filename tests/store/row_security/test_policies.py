"""Row-level security applies to every table with rows of a project, including new tables."""

from __future__ import annotations

from sqlalchemy import Table, TextClause, text

from app.store.database import create_engine
from app.store.tables import metadata
from tests.support.postgres import execute

BOUND = text("""
    SELECT relname FROM pg_class
    WHERE relnamespace = CAST('public' AS regnamespace) AND relrowsecurity AND relforcerowsecurity
      AND ARRAY['project', 'system'] <@ ARRAY(
          SELECT CAST(polname AS text) FROM pg_policy WHERE polrelid = pg_class.oid
      )
""")
WITH_A_PROJECT = text("""
    SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'project_id'
    WHERE relnamespace = CAST('public' AS regnamespace) AND relkind IN ('r', 'p')
""")


def of_a_project(table: Table, seen: frozenset[Table] = frozenset()) -> bool:
    """Whether its rows belong to a project, by a column or through the row of another table."""
    owners = {key.column.table for key in table.foreign_keys} - {table, *seen}
    return (
        table.name == "projects"
        or "project_id" in table.columns
        or any(of_a_project(owner, seen | {table}) for owner in owners)
    )


async def names(url: str, question: TextClause) -> set[str]:
    engine = create_engine(url)
    async with engine.connect() as connection:
        found = set((await connection.execute(question)).scalars())
    await engine.dispose()
    return found


async def unbound(url: str) -> set[str]:
    """The tables of projects that row-level security does not bind."""
    declared = {table.name for table in metadata.sorted_tables if of_a_project(table)}
    return (declared | await names(url, WITH_A_PROJECT)) - await names(url, BOUND)


async def test_every_table_with_a_project_is_bound_by_row_level_security(database_url: str) -> None:
    assert await unbound(database_url) == set()


async def test_a_new_table_with_a_project_and_without_a_policy_is_found(database_url: str) -> None:
    await execute(database_url, "CREATE TABLE quotas (project_id uuid REFERENCES projects)")
    assert await unbound(database_url) == {"quotas"}
    await execute(database_url, "ALTER TABLE quotas ENABLE ROW LEVEL SECURITY")
    assert await unbound(database_url) == {"quotas"}
