"""Each table of a project shows only the rows of the transaction's project.

Processes of the previous version name no project. They connect as the owner of the tables, or as a superuser,
and see all rows. Only the service's new roles are bound to a project. Each table is locked briefly and
separately.
"""

from __future__ import annotations

from alembic import op

from migrations.row_security import PROJECT, expose, protect, protect_steps

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TABLES = (
    "tokens",
    "manifests",
    "lists",
    "entries",
    "pushes",
    "tag_heads",
    "operations",
    "project_events",
    "webhooks",
    "webhook_deliveries",
    "idempotency_keys",
)
# An operation's steps have no project column. They are visible wherever their operation is.
OF_OPERATION = "EXISTS (SELECT FROM operations WHERE operations.id = operation_id)"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        protect("projects", f"id = {PROJECT}")
        for table in TABLES:
            protect(table)
        protect_steps("operation_events", OF_OPERATION)


def downgrade() -> None:
    for table in ("operation_events", *TABLES, "projects"):
        expose(table)
