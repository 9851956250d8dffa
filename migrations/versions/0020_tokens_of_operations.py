"""Operations store the token that requested them.

The previous version leaves the column empty, so its operations can't be found by token.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("operations", sa.Column("token_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("operations", "token_id")
