"""One image of a list may stand for several platforms.

The unique constraint is dropped, and an index by list takes over what its index was used for. It is built
without a lock that writers would notice.

The version before keeps working. It inserts and updates entries by their ids, never by the constraint, and
keeps references distinct itself while it has locked their list. It reads entries that share a reference as
further entries of the list, and pushes all of them. Only when it adds such a reference once more does it
renew one of them alone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

INDEX = "ix_entries_list"
CONSTRAINT = "uq_entries_list_reference"
# Rows of the same list and reference, all but the oldest.
FURTHER = sa.text(
    "DELETE FROM entries USING entries AS older "
    "WHERE entries.list_id = older.list_id AND entries.reference = older.reference "
    "AND (entries.added_at, entries.id) > (older.added_at, older.id)"
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # An attempt that was interrupted has left an index that is not valid.
        op.drop_index(INDEX, table_name="entries", if_exists=True, postgresql_concurrently=True)
        op.create_index(INDEX, "entries", ["list_id"], postgresql_concurrently=True)
    op.drop_constraint(CONSTRAINT, "entries", type_="unique")


def downgrade() -> None:
    op.execute(FURTHER)
    op.create_unique_constraint(CONSTRAINT, "entries", ["list_id", "reference"])
    op.drop_index(INDEX, table_name="entries")
