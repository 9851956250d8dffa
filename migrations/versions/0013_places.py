"""Lists have an order, and entries know how callers gave them.

The version before neither reads nor writes these columns. Its inserts use their
defaults, and its updates keep their values.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("lists", sa.Column("order", sa.Text(), server_default="docker", nullable=False))
    op.add_column(
        "entries",
        sa.Column("given", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
    )


def downgrade() -> None:
    op.drop_column("entries", "given")
    op.drop_column("lists", "order")
