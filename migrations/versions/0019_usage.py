"""Triggers count each project's usage.

They also count the writes of processes of the previous version. Those processes have no access to the table,
so the trigger functions run with the migrating role's privileges. Each trigger locks its table briefly and
separately. One statement adds the existing rows. It subtracts the changes that the triggers have counted
since, and both numbers come from one snapshot.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.row_security import protect

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TRIGGER = "LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT"
# An empty object has 2 bytes, its braces.
FUNCTIONS = {
    "usage_of": """
        FUNCTION usage_of(document jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE
        RETURN octet_length(document::text) - 2
    """,
    "count_lists": """
        FUNCTION count_lists() RETURNS trigger {TRIGGER} AS $$
        DECLARE
            project uuid;
            number bigint := 0;
            size bigint := 0;
        BEGIN
            IF TG_OP <> 'INSERT' THEN
                project := OLD.project_id;
                number := number - 1;
                size := size - usage_of(OLD.labels) - usage_of(OLD.annotations);
            END IF;
            IF TG_OP <> 'DELETE' THEN
                project := NEW.project_id;
                number := number + 1;
                size := size + usage_of(NEW.labels) + usage_of(NEW.annotations);
            END IF;
            INSERT INTO project_usage (project_id, quota, amount)
            SELECT project, quota, amount
            FROM (VALUES ('lists', number), ('metadata_bytes', size)) AS change (quota, amount)
            WHERE amount <> 0;
            RETURN NULL;
        END $$
    """,
    "count_entries": """
        FUNCTION count_entries() RETURNS trigger {TRIGGER} AS $$
        DECLARE
            project uuid;
            size bigint := 0;
        BEGIN
            IF TG_OP <> 'INSERT' THEN
                project := OLD.project_id;
                size := size - usage_of(OLD.annotations);
            END IF;
            IF TG_OP <> 'DELETE' THEN
                project := NEW.project_id;
                size := size + usage_of(NEW.annotations);
            END IF;
            INSERT INTO project_usage (project_id, quota, amount)
            SELECT project, 'metadata_bytes', size WHERE size <> 0;
            RETURN NULL;
        END $$
    """,
    "count_manifests": """
        FUNCTION count_manifests() RETURNS trigger {TRIGGER} AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                INSERT INTO project_usage (project_id, quota, amount)
                VALUES (NEW.project_id, 'manifest_bytes', octet_length(NEW.raw));
            ELSE
                INSERT INTO project_usage (project_id, quota, amount)
                VALUES (OLD.project_id, 'manifest_bytes', -octet_length(OLD.raw));
            END IF;
            RETURN NULL;
        END $$
    """,
}
CHANGED = "OLD.{0} IS DISTINCT FROM NEW.{0}"
# The conditions make lists and entries without annotations free of cost.
TRIGGERS = {
    "lists": {
        "count_lists": "AFTER INSERT OR DELETE ON lists FOR EACH ROW EXECUTE FUNCTION count_lists()",
        "count_changed_lists": (
            "AFTER UPDATE OF labels, annotations ON lists FOR EACH ROW "
            f"WHEN ({CHANGED.format('labels')} OR {CHANGED.format('annotations')}) "
            "EXECUTE FUNCTION count_lists()"
        ),
    },
    "entries": {
        "count_new_entries": (
            "AFTER INSERT ON entries FOR EACH ROW WHEN (NEW.annotations <> '{}') "
            "EXECUTE FUNCTION count_entries()"
        ),
        "count_changed_entries": (
            f"AFTER UPDATE OF annotations ON entries FOR EACH ROW WHEN ({CHANGED.format('annotations')}) "
            "EXECUTE FUNCTION count_entries()"
        ),
        "count_old_entries": (
            "AFTER DELETE ON entries FOR EACH ROW WHEN (OLD.annotations <> '{}') "
            "EXECUTE FUNCTION count_entries()"
        ),
    },
    "manifests": {
        "count_manifests": (
            "AFTER INSERT OR DELETE ON manifests FOR EACH ROW EXECUTE FUNCTION count_manifests()"
        ),
    },
}
COUNT_ALL = """
    INSERT INTO project_usage (project_id, quota, amount)
    SELECT project_id, quota, sum(amount) FROM (
        SELECT project_id, 'lists' AS quota, count(*) AS amount FROM lists GROUP BY 1
        UNION ALL
        SELECT project_id, 'metadata_bytes', sum(usage_of(labels) + usage_of(annotations))
        FROM lists GROUP BY 1
        UNION ALL
        SELECT project_id, 'metadata_bytes', sum(usage_of(annotations))
        FROM entries WHERE annotations <> '{}' GROUP BY 1
        UNION ALL
        SELECT project_id, 'manifest_bytes', sum(octet_length(raw)) FROM manifests GROUP BY 1
        UNION ALL
        SELECT project_id, quota, -amount FROM project_usage
    ) AS counted
    GROUP BY 1, 2 HAVING sum(amount) <> 0
"""


def upgrade() -> None:
    # An interrupted attempt may have created any of these.
    op.create_table(
        "project_usage",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("quota", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_project_usage"),
        if_not_exists=True,
    )
    op.create_index(
        "ix_project_usage_project_id", "project_usage", ["project_id", "quota"], if_not_exists=True
    )
    protect("project_usage")
    for function in FUNCTIONS.values():
        op.execute(f"CREATE OR REPLACE {function.replace('{TRIGGER}', TRIGGER)}")
    with op.get_context().autocommit_block():
        for table, triggers in TRIGGERS.items():
            for name, trigger in triggers.items():
                op.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
                op.execute(f"CREATE TRIGGER {name} {trigger}")
        op.execute(COUNT_ALL)


def downgrade() -> None:
    for table, triggers in TRIGGERS.items():
        for name in triggers:
            op.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
    for name in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION IF EXISTS {name}")
    op.drop_table("project_usage")
