"""The fixtures of this directory."""

from __future__ import annotations

from tests.support.database_fixtures import database, notifications, project_id

__all__ = ["database", "notifications", "project_id"]
