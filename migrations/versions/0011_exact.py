"""A list may ask to keep the bytes of its source."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("lists", sa.Column("exact", sa.Boolean))


def downgrade() -> None:
    op.drop_column("lists", "exact")
