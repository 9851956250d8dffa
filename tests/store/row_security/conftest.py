"""The fixtures of this directory."""

from __future__ import annotations

from tests.support.database_fixtures import database, project_id

__all__ = ["database", "project_id"]
