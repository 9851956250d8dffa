"""Conditions that several tables share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, LargeBinary, Row, Select, Table, func, tuple_

from app.projects.paging import Position
from app.store.database import Transaction
from app.store.row_security.scopes import searching


def newest_first(query: Select[Any], table: Table, before: Position | None, limit: int) -> Select[Any]:
    """The rows after `before`, which is the position of the last one seen."""
    if before is not None:
        query = query.where(tuple_(table.c.created_at, table.c.id) < before)
    return query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)


async def find_rows(
    tx: Transaction, query: Select[Any], table: Table, *, by_search: bool
) -> Sequence[Row[Any]]:
    """The rows of a query. `by_search` first finds their ids by an index that row policies would rule out."""
    if by_search:
        query = await narrowed_by_search(tx, query, table)
    rows: Sequence[Row[Any]] = (await tx.execute(query)).all()
    return rows


async def narrowed_by_search(tx: Transaction, query: Select[Any], table: Table) -> Select[Any]:
    """Narrow the query to the ids that an index search has found."""
    async with searching(tx):
        found = (await tx.execute(query.with_only_columns(table.c.id))).scalars().all()
    return query.where(table.c.id.in_(found))


def begins_otherwise(column: Column[Any], prefix: bytes) -> ColumnElement[bool]:
    """Whether bytes do not begin with the prefix; null for null."""
    return func.substr(column, 1, len(prefix), type_=LargeBinary()) != prefix
