"""The error of an embedded Postgres that can't run."""

from __future__ import annotations


class EmbeddedPostgresError(RuntimeError):
    """Its text names the cause and the remedy for the operator; it never reaches a caller."""
