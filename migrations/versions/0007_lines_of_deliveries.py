"""Deliveries that stand in line before they become operations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BEGUN = sa.text("state = 'pending' AND operation_id IS NOT NULL")
LINE = sa.text("state = 'pending' AND operation_id IS NULL")


def upgrade() -> None:
    op.alter_column("webhook_deliveries", "operation_id", nullable=True)
    op.create_index(
        "ix_webhook_deliveries_begun", "webhook_deliveries", ["webhook_id"], postgresql_where=BEGUN
    )
    op.create_index(
        "ix_webhook_deliveries_line", "webhook_deliveries", ["webhook_id", "event_id"], postgresql_where=LINE
    )


def downgrade() -> None:
    op.drop_index("ix_webhook_deliveries_line", table_name="webhook_deliveries", postgresql_where=LINE)
    op.drop_index("ix_webhook_deliveries_begun", table_name="webhook_deliveries", postgresql_where=BEGUN)
    op.execute("DELETE FROM webhook_deliveries WHERE operation_id IS NULL")
    op.alter_column("webhook_deliveries", "operation_id", nullable=False)
