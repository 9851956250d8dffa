"""An index of each project's unfinished operations, for the limits on their number.

It is built concurrently, so it does not block writers. The previous version does not use it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

INDEX = "ix_operations_unfinished"
UNFINISHED = sa.text("state IN ('queued', 'running') AND kind <> 'deliver'")


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # An interrupted attempt has left an invalid index.
        op.drop_index(INDEX, table_name="operations", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            INDEX, "operations", ["project_id"], postgresql_where=UNFINISHED, postgresql_concurrently=True
        )


def downgrade() -> None:
    op.drop_index(INDEX, table_name="operations")
