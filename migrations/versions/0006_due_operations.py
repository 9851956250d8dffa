"""Indexes by which those who ask what is due leave alone what waits for later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

QUEUED = sa.text("state = 'queued'")
LIVE = sa.text("state IN ('queued', 'running')")
KEYED = sa.text("state IN ('queued', 'running') AND keys <> '{}'")


def upgrade() -> None:
    op.drop_index("ix_operations_live", table_name="operations", postgresql_where=LIVE)
    op.create_index("ix_operations_keyed", "operations", ["sequence"], postgresql_where=KEYED)
    op.create_index("ix_operations_due", "operations", ["run_at"], postgresql_where=QUEUED)
    op.create_index("ix_operations_deadline", "operations", ["deadline_at"], postgresql_where=QUEUED)


def downgrade() -> None:
    op.drop_index("ix_operations_deadline", table_name="operations", postgresql_where=QUEUED)
    op.drop_index("ix_operations_due", table_name="operations", postgresql_where=QUEUED)
    op.drop_index("ix_operations_keyed", table_name="operations", postgresql_where=KEYED)
    op.create_index("ix_operations_live", "operations", ["sequence"], postgresql_where=LIVE)
