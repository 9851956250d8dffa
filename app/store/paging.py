"""Conditions that several tables share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, LargeBinary, Select, Table, func, tuple_

from app.projects.paging import Position


def newest_first(query: Select[Any], table: Table, before: Position | None, limit: int) -> Select[Any]:
    """The rows after `before`, which is the position of the last one seen."""
    if before is not None:
        query = query.where(tuple_(table.c.created_at, table.c.id) < before)
    return query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)


def begins_otherwise(column: Column[Any], prefix: bytes) -> ColumnElement[bool]:
    """Whether bytes don't begin so; null for null."""
    return func.substr(column, 1, len(prefix), type_=LargeBinary()) != prefix
