"""Idempotency keys: which request a key was used for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.errors import IdempotencyMismatch
from app.store.database import Transaction
from app.store.tables import idempotency_keys

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Remembered:
    """The first request with this key: the operation it started, or the response it got."""

    operation_id: UUID | None
    response: Json | None


async def remember(
    tx: Transaction,
    project_id: UUID,
    key: str,
    fingerprint: bytes,
    *,
    operation_id: UUID | None = None,
    response: Json | None = None,
) -> Remembered | None:
    """None for a new key, which is now taken; otherwise what is known of the request that took it.

    A request with the same key that has not committed yet is waited for.
    """
    statement = (
        insert(idempotency_keys)
        .values(
            project_id=project_id,
            key=key,
            fingerprint=fingerprint,
            operation_id=operation_id,
            response=response,
        )
        .on_conflict_do_nothing()
        .returning(idempotency_keys.c.key)
    )
    while (await tx.execute(statement)).one_or_none() is None:
        # The row may be swept between the two statements: then the key is free, and taken at the next turn.
        known = await _find(tx, project_id, key, fingerprint)
        if known is not None:
            return known
    return None


async def _find(tx: Transaction, project_id: UUID, key: str, fingerprint: bytes) -> Remembered | None:
    statement = select(idempotency_keys).where(
        idempotency_keys.c.project_id == project_id, idempotency_keys.c.key == key
    )
    row = (await tx.execute(statement)).one_or_none()
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise IdempotencyMismatch("This Idempotency-Key was used for another request; take a new one.")
    return Remembered(row.operation_id, row.response)


async def record_response(tx: Transaction, project_id: UUID, key: str, response: Json) -> None:
    """What later requests with the key are answered."""
    await tx.execute(
        update(idempotency_keys)
        .where(idempotency_keys.c.project_id == project_id, idempotency_keys.c.key == key)
        .values(response=response)
    )


async def forget_expired(tx: Transaction, older_than: timedelta) -> int:
    expired = idempotency_keys.c.created_at < func.clock_timestamp() - older_than
    return (await tx.execute(delete(idempotency_keys).where(expired))).rowcount
