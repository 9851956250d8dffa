"""The tables, for Alembic and for the queries of this package."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

from app.lists.options import FLAG_NAMES

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# JSONB for searched columns; JSON, which keeps the order of members, for documents that callers read back.
NOW = func.now()
EMPTY_OBJECT = text("'{}'::jsonb")
EMPTY_ARRAY = text("'[]'::jsonb")


def _instant(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _created_at() -> Column[object]:
    # clock_timestamp, not now(): listings are ordered by it, and one transaction may make several rows.
    return Column(
        "created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()
    )


def _project_id() -> Column[object]:
    return Column("project_id", Uuid, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False)


projects = Table(
    "projects",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _created_at(),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Uuid, primary_key=True),
    _project_id(),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("admin", Boolean, nullable=False, server_default=text("false")),
    _created_at(),
    _instant("revoked_at"),
    _instant("expires_at"),
    Index(
        "uq_tokens_project_name",
        "project_id",
        "name",
        unique=True,
        postgresql_where=text("revoked_at IS NULL"),
    ),
)

# Exact bytes as fetched, content-addressed within a project. They outlive their entries, because a push that
# has begun still needs them.
manifests = Table(
    "manifests",
    metadata,
    _project_id(),
    Column("digest", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    _created_at(),
    PrimaryKeyConstraint("project_id", "digest"),
)

lists = Table(
    "lists",
    metadata,
    Column("id", Uuid, primary_key=True),
    _project_id(),
    Column("reference", Text, nullable=False),
    Column("registry", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("session", Text, nullable=False, server_default=""),
    Column("revision", Integer, nullable=False, server_default=text("1")),
    Column("state", Text, nullable=False, server_default="open"),
    Column("format", Text, nullable=False, server_default="auto"),
    Column("order", Text, nullable=False, server_default="docker"),
    Column("annotations", JSONB, nullable=False, server_default=EMPTY_OBJECT),
    Column("artifact_type", Text),
    Column("subject", JSONB(none_as_null=True)),
    Column("tags", JSONB, nullable=False, server_default=EMPTY_ARRAY),
    Column("targets", JSONB, nullable=False, server_default=EMPTY_ARRAY),
    Column("labels", JSONB, nullable=False, server_default=EMPTY_OBJECT),
    Column("expected_platforms", JSONB, nullable=False, server_default=EMPTY_ARRAY),
    Column("push_operation_id", Uuid),
    Column("last_push_id", Uuid),
    Column("created_by", Text, nullable=False),
    _created_at(),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    _instant("expires_at"),
    _instant("complete_by"),
    # By platform, the reasons of builds that were reported to have failed.
    Column("failures", JSONB, nullable=False, server_default=EMPTY_OBJECT),
    Column("run_number", BigInteger),
    # One for each option that is off by default.
    *(Column(name, Boolean, nullable=False, server_default=text("false")) for name in FLAG_NAMES),
    Column("problem", JSON(none_as_null=True)),
    # Null copies an index that is the only source and unchanged.
    Column("exact", Boolean),
    UniqueConstraint("project_id", "reference", "session", name="uq_lists_project_reference_session"),
    Index("ix_lists_page", "project_id", "created_at", "id"),
    Index("ix_lists_labels", "labels", postgresql_using="gin", postgresql_ops={"labels": "jsonb_path_ops"}),
    Index("ix_lists_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    # For the search for lists past their deadline; a pushed list that was changed may be late again.
    Index(
        "ix_lists_complete_by",
        "complete_by",
        postgresql_where=text("complete_by IS NOT NULL AND state = 'open'"),
    ),
    CheckConstraint("state IN ('open', 'pushed', 'failed')", name="state"),
)

entries = Table(
    "entries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("list_id", Uuid, ForeignKey("lists.id", ondelete="CASCADE"), nullable=False),
    Column("project_id", Uuid, nullable=False),
    Column("reference", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("artifact_type", Text),
    # The platform from the image's config, and the caller's override; together they are the effective
    # platform.
    Column("resolved_platform", JSONB, nullable=False),
    Column("platform_override", JSONB, nullable=False, server_default=EMPTY_OBJECT),
    Column("annotations", JSONB, nullable=False, server_default=EMPTY_OBJECT),
    Column("image", JSONB, nullable=False, server_default=EMPTY_OBJECT),
    # The index that the entry comes from, and the selection; null for an image that was named directly.
    Column("origin", JSONB(none_as_null=True)),
    # In which call, and as which of its sources, callers gave it; null for an entry of an earlier version.
    Column("given", JSONB(none_as_null=True)),
    Column("added_by", Text, nullable=False),
    Column("added_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    # One image may stand for several platforms: the code that has locked the list keeps its entries distinct.
    Index("ix_entries_list", "list_id"),
    Index("ix_entries_manifest", "project_id", "digest"),
)

pushes = Table(
    "pushes",
    metadata,
    Column("id", Uuid, primary_key=True),
    _project_id(),
    Column("operation_id", Uuid, nullable=False),
    # No foreign key: history outlives the list.
    Column("list_id", Uuid),
    Column("reference", Text, nullable=False),
    Column("registry", Text, nullable=False),
    Column("repository", Text, nullable=False),
    # All references that the push moves, the list's own included: the history is searched by reference.
    Column("references", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("registries", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("repositories", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("session", Text, nullable=False, server_default=""),
    Column("labels", JSONB, nullable=False, server_default=EMPTY_OBJECT),
    Column("state", Text, nullable=False, server_default="queued"),
    Column("digest", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("plan", JSON, nullable=False),
    # What each tag held before the first attempt that moved tags; later attempts find what earlier ones put.
    Column("previous", JSONB, nullable=False, server_default=EMPTY_OBJECT),
    # For each tag that held something else, the difference to what was put.
    Column("differences", JSONB, nullable=False, server_default=EMPTY_OBJECT),
    # How far the last attempt came at each target, if it failed.
    Column("reached", JSON, nullable=False, server_default=text("'[]'::json")),
    Column("result", JSON(none_as_null=True)),
    Column("problem", JSON(none_as_null=True)),
    # The push whose bytes this one put back.
    Column("restores", Uuid),
    Column("created_by", Text, nullable=False),
    _created_at(),
    _instant("ended_at"),
    Index("ix_pushes_page", "project_id", "created_at", "id"),
    Index("ix_pushes_references", "references", postgresql_using="gin"),
    Index("ix_pushes_repositories", "repositories", postgresql_using="gin"),
    Index("ix_pushes_labels", "labels", postgresql_using="gin", postgresql_ops={"labels": "jsonb_path_ops"}),
    CheckConstraint("state IN ('queued', 'succeeded', 'failed', 'cancelled')", name="state"),
)

# The newest run that has moved a tag; an older run that comes late is compared with it.
tag_heads = Table(
    "tag_heads",
    metadata,
    _project_id(),
    Column("reference", Text, nullable=False),
    Column("run_number", BigInteger),
    _instant("began_at", nullable=False),
    Column("list_id", Uuid),
    Column("push_id", Uuid, nullable=False),
    Column("digest", Text, nullable=False),
    _instant("moved_at", nullable=False),
    PrimaryKeyConstraint("project_id", "reference"),
)

# The push that may move a tag now, and the last push that moved it, of any project. Tags are hashed: the rows
# belong to no project, and reveal nothing about one.
tag_leases = Table(
    "tag_leases",
    metadata,
    Column("tag", LargeBinary, primary_key=True),
    Column("holder", Uuid),
    Column("attempt", Integer),
    _instant("held_since"),
    _instant("held_until"),
    # The waiting operations, in order, and the times at which their places expire.
    Column("waiting", ARRAY(Uuid), nullable=False, server_default=text("'{}'::uuid[]")),
    Column(
        "waiting_until",
        ARRAY(DateTime(timezone=True)),
        nullable=False,
        server_default=text("'{}'::timestamptz[]"),
    ),
    Column("moved_by", Uuid),
    Column("moved_order", BigInteger),
    Column("moved_digest", Text),
    _instant("moved_at"),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Index("ix_tag_leases_updated_at", "updated_at"),
)

operations = Table(
    "operations",
    metadata,
    Column("id", Uuid, primary_key=True),
    # The order of acceptance: among operations that share a key, the older one runs first.
    Column("sequence", BigInteger, Identity(always=True), nullable=False, unique=True),
    _project_id(),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="queued"),
    Column("keys", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    # Sorted. The operation is not claimed while one of them is paused.
    Column("registries", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("request", JSON, nullable=False),
    # The caller's registry credential, encrypted; deleted when the operation ends.
    Column("secret", LargeBinary),
    Column("list_id", Uuid),
    Column("push_id", Uuid),
    Column("run_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    _instant("deadline_at", nullable=False),
    # The fencing token, which only grows.
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    # Attempts that don't count against the limit, because they ended for other reasons than the operation
    # itself, such as a stop of the worker or a registry's pause.
    Column("excused", Integer, nullable=False, server_default=text("0")),
    # Attempts that were lost with their workers: an operation that crashes workers has a limit of its own.
    Column("lost", Integer, nullable=False, server_default=text("0")),
    Column("worker", Text),
    _instant("lease_until"),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("progress", JSON, nullable=False, server_default=text("'{}'::json")),
    Column("result", JSON(none_as_null=True)),
    Column("problem", JSON(none_as_null=True)),
    Column("created_by", Text, nullable=False),
    # The caller's token. It has no foreign key, because it is read only while the operation is unfinished.
    Column("token_id", Uuid),
    # The id of the trace (W3C Trace Context) of the request that asked for it, for the log.
    Column("trace", Text),
    _created_at(),
    _instant("started_at"),
    _instant("ended_at"),
    Index("ix_operations_page", "project_id", "created_at", "id"),
    Index(
        "ix_operations_queue",
        "priority",
        "sequence",
        postgresql_where=text("state = 'queued'"),
    ),
    Index("ix_operations_lease", "lease_until", postgresql_where=text("state = 'running'")),
    Index("ix_operations_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    # For operations that wait for a key and for due ones, so that later ones cost a claim nothing.
    Index(
        "ix_operations_keyed",
        "sequence",
        postgresql_where=text("state IN ('queued', 'running') AND keys <> '{}'"),
    ),
    Index("ix_operations_due", "run_at", postgresql_where=text("state = 'queued'")),
    Index("ix_operations_deadline", "deadline_at", postgresql_where=text("state = 'queued'")),
    # For the limits of a project. The index excludes finished operations, so they cost nothing.
    Index(
        "ix_operations_unfinished",
        "project_id",
        postgresql_where=text("state IN ('queued', 'running') AND kind <> 'deliver'"),
    ),
    Index("ix_operations_list", "list_id"),
    Index("ix_operations_delivered", "ended_at", postgresql_where=text("kind = 'deliver'")),
    CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"),
)

operation_events = Table(
    "operation_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("operation_id", Uuid, ForeignKey("operations.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("data", JSON, nullable=False),
    _created_at(),
    Index("ix_operation_events_operation", "operation_id", "id"),
)

# The events of a project, numbered in the order of their commits (store/events.py).
project_events = Table(
    "project_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _project_id(),
    Column("kind", Text, nullable=False),
    Column("data", JSON, nullable=False),
    # No foreign keys: events outlive their lists.
    Column("list_id", Uuid),
    Column("push_id", Uuid),
    _created_at(),
    Index("ix_project_events_project", "project_id", "id"),
    Index("ix_project_events_list", "project_id", "list_id", "id"),
    Index("ix_project_events_session", "project_id", text("(data ->> 'session')"), "id"),
    Index("ix_project_events_created_at", "created_at"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Uuid, primary_key=True),
    _project_id(),
    Column("url", Text, nullable=False),
    # Empty means all kinds.
    Column("types", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("description", Text, nullable=False, server_default=""),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    # Encrypted, like the previous secrets, which still sign for a while after a rotation.
    Column("secret", LargeBinary, nullable=False),
    Column("previous_secret", LargeBinary),
    _instant("rotated_at"),
    Column("created_by", Text, nullable=False),
    _created_at(),
    Index("ix_webhooks_page", "project_id", "created_at", "id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    # The webhook-id of every request for this delivery.
    Column("id", Uuid, primary_key=True),
    _project_id(),
    Column("webhook_id", Uuid, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event_id", BigInteger, ForeignKey("project_events.id", ondelete="CASCADE"), nullable=False),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("last_status", Integer),
    Column("problem", JSON(none_as_null=True)),
    # The delivery's operation, once it has begun. No foreign key: ended operations are removed sooner.
    Column("operation_id", Uuid),
    _created_at(),
    _instant("delivered_at"),
    Index("ix_webhook_deliveries_page", "webhook_id", "created_at", "id"),
    Index("ix_webhook_deliveries_event", "event_id"),
    Index(
        "ix_webhook_deliveries_begun",
        "webhook_id",
        postgresql_where=text("state = 'pending' AND operation_id IS NOT NULL"),
    ),
    Index(
        "ix_webhook_deliveries_line",
        "webhook_id",
        "event_id",
        postgresql_where=text("state = 'pending' AND operation_id IS NULL"),
    ),
    CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
)

# Each project's usage. Triggers write a row for each change; a row may also be the sum of several. It has no
# foreign key, because the triggers also write while a project is removed.
project_usage = Table(
    "project_usage",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("project_id", Uuid, nullable=False),
    Column("quota", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Index("ix_project_usage_project_id", "project_id", "quota"),
)

# The budgets of registries, which one worker learns for all.
registry_budgets = Table(
    "registry_budgets",
    metadata,
    Column("registry", Text, primary_key=True),
    _instant("blocked_until", nullable=False),
    Column("concurrency", Integer),
    Column("rate", Double),
    _instant("updated_at", nullable=False),
    Index("ix_registry_budgets_blocked_until", "blocked_until"),
    Index("ix_registry_budgets_updated_at", "updated_at"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    _project_id(),
    Column("key", Text, nullable=False),
    # Method, path and body of the request, hashed: the same key with another fingerprint is refused.
    Column("fingerprint", LargeBinary, nullable=False),
    Column("operation_id", Uuid, nullable=False),
    _created_at(),
    PrimaryKeyConstraint("project_id", "key"),
    Index("ix_idempotency_keys_created_at", "created_at"),
)
