"""Row-level security of one table, for the migration that creates the table or protects it."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

# The transaction's project, set by `store/row_security/scopes.py`. The subquery runs once per statement.
PROJECT = "(SELECT nullif(current_setting('broker.project_id', true), '')::uuid)"
_OWNER = text(
    "SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class "
    "WHERE oid = CAST(CAST(:name AS text) AS regclass)"
)


def protect(table: str, condition: str = f"project_id = {PROJECT}") -> None:
    """Bind every role to the rows of the transaction's project, and admit the table's owner for now.

    The owner is the migrating role. Processes of a version before row-level security also connect as the
    owner. `store/row_security/roles.py` admits the role for all projects, because that module knows its name.
    """
    _policy(table, "project", f"USING ({condition})")
    _admit_owner(table)
    bind(table)


def protect_steps(table: str, readable: str) -> None:
    """Protect a table to which a project may only add rows. `readable` is the condition for reads."""
    _policy(table, "project", f"FOR SELECT USING ({readable})")
    _policy(table, "recorded", "FOR INSERT WITH CHECK (true)")
    _admit_owner(table)
    bind(table)


def bind(table: str) -> None:
    """Enable row security in one statement, so that the table is locked once."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")


def expose(table: str) -> None:
    """Undo everything."""
    for name in ("project", "recorded", "owner", "system"):
        op.execute(f"DROP POLICY IF EXISTS {name} ON {table}")
    op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")


def _policy(table: str, name: str, rule: str) -> None:
    # An interrupted attempt may have created it.
    op.execute(f"DROP POLICY IF EXISTS {name} ON {table}")
    op.execute(f"CREATE POLICY {name} ON {table} {rule}")


def _admit_owner(table: str) -> None:
    op.execute(f"DROP POLICY IF EXISTS owner ON {table}")
    owner = op.get_bind().execute(_OWNER, {"name": table}).scalar_one()
    op.execute(f"CREATE POLICY owner ON {table} TO {owner} USING (true)")
