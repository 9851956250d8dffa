"""What fan-in needs of lists: deadlines, failures, the order of runs, and which run has moved a tag last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tag_heads",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("run_number", sa.BigInteger(), nullable=True),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("list_id", sa.Uuid(), nullable=True),
        sa.Column("push_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_tag_heads_project_id_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "reference", name=op.f("pk_tag_heads")),
    )
    op.add_column(
        "entries",
        sa.Column("origin", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
    )
    op.add_column("lists", sa.Column("complete_by", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "lists",
        sa.Column(
            "failures",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
    )
    op.add_column("lists", sa.Column("run_number", sa.BigInteger(), nullable=True))
    op.add_column(
        "lists", sa.Column("same_revision", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column(
        "lists", sa.Column("allow_partial", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column(
        "lists", sa.Column("allow_shrink", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column(
        "lists", sa.Column("allow_older", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column(
        "lists", sa.Column("referrers", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column(
        "lists",
        sa.Column("problem", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
    )
    op.create_index(
        "ix_lists_complete_by",
        "lists",
        ["complete_by"],
        unique=False,
        postgresql_where=sa.text("complete_by IS NOT NULL AND state = 'open'"),
    )
    op.drop_constraint(op.f("ck_lists_state"), "lists", type_="check")
    op.create_check_constraint(op.f("ck_lists_state"), "lists", "state IN ('open', 'pushed', 'failed')")
    op.add_column(
        "pushes",
        sa.Column(
            "differences",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
    )
    op.add_column("pushes", sa.Column("restores", sa.Uuid(), nullable=True))
    for name in ("references", "registries", "repositories"):
        op.add_column(
            "pushes",
            sa.Column(
                name, postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False
            ),
        )
    op.execute(
        'UPDATE pushes SET "references" = ARRAY[reference], registries = ARRAY[registry], '
        "repositories = ARRAY[repository]"
    )
    op.drop_index("ix_pushes_reference", table_name="pushes")
    op.create_index("ix_pushes_references", "pushes", ["references"], unique=False, postgresql_using="gin")
    op.create_index(
        "ix_pushes_repositories", "pushes", ["repositories"], unique=False, postgresql_using="gin"
    )
    op.create_index(
        "ix_pushes_labels",
        "pushes",
        ["labels"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"labels": "jsonb_path_ops"},
    )


def downgrade() -> None:
    op.drop_index(
        "ix_pushes_labels",
        table_name="pushes",
        postgresql_using="gin",
        postgresql_ops={"labels": "jsonb_path_ops"},
    )
    op.drop_index("ix_pushes_repositories", table_name="pushes", postgresql_using="gin")
    op.drop_index("ix_pushes_references", table_name="pushes", postgresql_using="gin")
    op.create_index("ix_pushes_reference", "pushes", ["project_id", "reference", "created_at"], unique=False)
    for name in ("references", "registries", "repositories"):
        op.drop_column("pushes", name)
    op.drop_column("pushes", "restores")
    op.drop_column("pushes", "differences")
    op.drop_index(
        "ix_lists_complete_by",
        table_name="lists",
        postgresql_where=sa.text("complete_by IS NOT NULL AND state = 'open'"),
    )
    op.execute("UPDATE lists SET state = 'open' WHERE state = 'failed'")
    op.drop_constraint(op.f("ck_lists_state"), "lists", type_="check")
    op.create_check_constraint(op.f("ck_lists_state"), "lists", "state IN ('open', 'pushed')")
    op.drop_column("lists", "problem")
    op.drop_column("lists", "referrers")
    op.drop_column("lists", "allow_older")
    op.drop_column("lists", "allow_shrink")
    op.drop_column("lists", "allow_partial")
    op.drop_column("lists", "same_revision")
    op.drop_column("lists", "run_number")
    op.drop_column("lists", "failures")
    op.drop_column("lists", "complete_by")
    op.drop_column("entries", "origin")
    op.drop_table("tag_heads")
