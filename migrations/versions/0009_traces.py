"""Operations know the trace of the request that asked for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("operations", sa.Column("trace", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("operations", "trace")
