"""Idempotency keys, and the operations that they stand for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from app.errors import IdempotencyMismatch
from app.store.database import Transaction
from app.store.tables import idempotency_keys

FORGOTTEN_AT_ONCE = 5_000
_REQUEST_HASH = 32


async def remember(
    tx: Transaction,
    project_id: UUID,
    key: str,
    fingerprint: bytes,
    operation_id: UUID,
    *,
    older: Collection[bytes] = (),
) -> UUID | None:
    """Bind a new key to the operation and return None; for a known key, return its operation.

    `older` are the fingerprints of the same request under earlier secret keys. Waits for an uncommitted
    request with the same key.
    """
    statement = (
        insert(idempotency_keys)
        .values(project_id=project_id, key=key, fingerprint=fingerprint, operation_id=operation_id)
        .on_conflict_do_nothing()
        .returning(idempotency_keys.c.key)
    )
    while (await tx.execute(statement)).one_or_none() is None:
        # A sweep may remove the row between the two statements: then the next iteration inserts the key.
        known = await _find(tx, project_id, key, (fingerprint, *older))
        if known is not None:
            return known
    return None


async def _find(tx: Transaction, project_id: UUID, key: str, fingerprints: Sequence[bytes]) -> UUID | None:
    statement = select(idempotency_keys).where(
        idempotency_keys.c.project_id == project_id, idempotency_keys.c.key == key
    )
    row = (await tx.execute(statement)).one_or_none()
    if row is None:
        return None
    # The previous version stored the hash of the request alone.
    if row.fingerprint not in {*fingerprints, fingerprints[0][:_REQUEST_HASH]}:
        raise IdempotencyMismatch("This Idempotency-Key was used for another request. Use a new key.")
    known: UUID = row.operation_id
    return known


async def forget_expired(tx: Transaction, older_than: timedelta, *, limit: int = FORGOTTEN_AT_ONCE) -> int:
    """Remove the oldest expired keys, up to `limit`."""
    name = (idempotency_keys.c.project_id, idempotency_keys.c.key)
    expired = (
        select(*name)
        .where(idempotency_keys.c.created_at < func.statement_timestamp() - older_than)
        .order_by(idempotency_keys.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return (await tx.execute(delete(idempotency_keys).where(tuple_(*name).in_(expired)))).rowcount
