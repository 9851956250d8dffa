"""An embedded Postgres, for a machine without a Postgres server."""

from __future__ import annotations

from app.store.embedded.directory import login_of
from app.store.embedded.failure import EmbeddedPostgresError
from app.store.embedded.launcher import EmbeddedPostgres, postgres_on

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "login_of", "postgres_on"]
