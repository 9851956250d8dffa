"""What the operator is told when the embedded Postgres can't run."""

from __future__ import annotations


class EmbeddedPostgresError(RuntimeError):
    """The text says what is wrong and what to do; it is for the operator and never reaches a caller."""
