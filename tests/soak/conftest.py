"""The fixtures of this directory."""

from __future__ import annotations

from tests.support.database_fixtures import database

__all__ = ["database"]
