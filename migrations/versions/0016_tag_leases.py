"""Add tag leases: a push of any project holds one while it moves a tag.

The previous version neither reads nor writes this table. Its claim excludes all pushes that share a tag, in
any project. A worker of this version marks its claims in the worker's name. It does not move a tag while a
worker of the previous version pushes to the tag. That worker in turn claims no push to a tag while a push of
this version runs.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "tag_leases",
        sa.Column("tag", sa.LargeBinary(), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("held_since", INSTANT, nullable=True),
        sa.Column("held_until", INSTANT, nullable=True),
        sa.Column("waiting", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("waiting_until", postgresql.ARRAY(INSTANT), server_default="{}", nullable=False),
        sa.Column("moved_by", sa.Uuid(), nullable=True),
        sa.Column("moved_order", sa.BigInteger(), nullable=True),
        sa.Column("moved_digest", sa.Text(), nullable=True),
        sa.Column("moved_at", INSTANT, nullable=True),
        sa.Column("updated_at", INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("tag", name="pk_tag_leases"),
    )
    op.create_index("ix_tag_leases_updated_at", "tag_leases", ["updated_at"])


def downgrade() -> None:
    op.drop_table("tag_leases")
