"""Idempotency keys: one key, one request, one effect."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.errors import IdempotencyMismatch
from app.store import idempotency
from app.store.database import Database
from tests.support.operation_queue import new_project


async def test_a_repeated_key_returns_the_operation_of_the_first_request(
    database: Database, project_id: UUID
) -> None:
    operation_id = uuid4()
    async with database.transaction() as tx:
        assert await idempotency.remember(tx, project_id, "k", b"print", operation_id) is None
    async with database.transaction() as tx:
        known = await idempotency.remember(tx, project_id, "k", b"print", uuid4())
    assert known == operation_id


async def test_a_key_of_another_request_is_refused(database: Database, project_id: UUID) -> None:
    async with database.transaction() as tx:
        await idempotency.remember(tx, project_id, "k", b"print", uuid4())
    async with database.transaction() as tx:
        with pytest.raises(IdempotencyMismatch):
            await idempotency.remember(tx, project_id, "k", b"other print", uuid4())


async def test_projects_do_not_share_keys(database: Database, project_id: UUID) -> None:
    stranger = await new_project(database)
    async with database.transaction() as tx:
        assert await idempotency.remember(tx, project_id, "k", b"print", uuid4()) is None
        assert await idempotency.remember(tx, stranger, "k", b"other print", uuid4()) is None


async def test_of_concurrent_requests_exactly_one_gets_the_key(database: Database, project_id: UUID) -> None:
    async def request() -> tuple[UUID, UUID | None]:
        operation_id = uuid4()
        async with database.transaction() as tx:
            known = await idempotency.remember(tx, project_id, "k", b"print", operation_id)
            await asyncio.sleep(0.01)
        return operation_id, known

    answers = await asyncio.gather(*(request() for _ in range(8)))
    (winner,) = [operation_id for operation_id, known in answers if known is None]
    assert [known for _, known in answers if known is not None] == [winner] * 7


async def test_a_request_that_failed_leaves_its_key_free(database: Database, project_id: UUID) -> None:
    async def fail() -> None:
        async with database.transaction() as tx:
            await idempotency.remember(tx, project_id, "k", b"print", uuid4())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with database.transaction() as tx:
        assert await idempotency.remember(tx, project_id, "k", b"another", uuid4()) is None


async def test_old_keys_are_removed(database: Database, project_id: UUID) -> None:
    async with database.transaction() as tx:
        await idempotency.remember(tx, project_id, "old", b"print", uuid4())
        await tx.execute(text("UPDATE idempotency_keys SET created_at = created_at - interval '8 days'"))
        await idempotency.remember(tx, project_id, "new", b"print", uuid4())
        assert await idempotency.forget_expired(tx, timedelta(days=7)) == 1
        assert await idempotency.remember(tx, project_id, "old", b"other", uuid4()) is None
        assert await idempotency.remember(tx, project_id, "new", b"print", uuid4()) is not None
