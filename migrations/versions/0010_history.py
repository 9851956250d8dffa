"""The history of one list, or of one session, is found without reading that of its project."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_project_events_list", "project_events", ["project_id", "list_id", "id"])
    op.create_index(
        "ix_project_events_session", "project_events", ["project_id", sa.text("(data ->> 'session')"), "id"]
    )


def downgrade() -> None:
    op.drop_index("ix_project_events_session", table_name="project_events")
    op.drop_index("ix_project_events_list", table_name="project_events")
