"""The scope of a transaction: it arrives with BEGIN, and ends with the transaction."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

import app
from app.store.database import Database, Transaction, savepoint
from app.store.row_security.roles import roles_of
from app.store.row_security.scopes import acting_for, searching

APP = Path(app.__file__).parent
TRANSACTIONS = {"transaction", "snapshot"}


async def seen_project(tx: Transaction) -> str:
    found = await tx.execute(text("SELECT coalesce(current_setting('broker.project_id', true), '')"))
    return str(found.scalar_one())


async def test_a_pooled_connection_carries_no_project_to_the_next_transaction(database_url: str) -> None:
    database, first = Database(database_url, pool_size=1), uuid4()
    async with database.transaction(first) as tx:
        assert await seen_project(tx) == str(first)
    async with database.transaction() as tx:
        assert not await seen_project(tx)
    with pytest.raises(DBAPIError):
        async with database.snapshot(first) as tx:
            await tx.execute(text("SELECT 1 / 0"))
    async with database.snapshot() as tx:
        assert not await seen_project(tx)
    await database.dispose()


async def test_acting_for_a_project_ends_with_its_block(database: Database) -> None:
    project_id = uuid4()
    async with database.transaction() as tx:
        async with acting_for(tx, project_id):
            assert await seen_project(tx) == str(project_id)
        assert not await seen_project(tx)


def unscoped_transactions() -> Iterator[str]:
    for path in sorted(APP.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                is_transaction = node.func.attr in TRANSACTIONS and not node.args
                if is_transaction and "database" in ast.unparse(node.func.value):
                    yield f"{path.relative_to(APP)}:{node.lineno}"


def test_only_the_check_of_the_schema_uses_a_transaction_without_a_scope() -> None:
    assert {place.split(":")[0] for place in unscoped_transactions()} == {"services/health.py"}


async def test_a_search_without_policies_ends_with_its_block(database_url: str) -> None:
    database = Database(database_url, roles=roles_of(database_url), pool_size=1)
    async with database.transaction(uuid4()) as tx:
        async with searching(tx):
            assert await role(tx) == "broker_service_system"
        assert await role(tx) == "broker_service"
        with pytest.raises(DBAPIError):
            async with savepoint(tx), searching(tx):
                await tx.execute(text("SELECT 1 / 0"))
        assert await role(tx) == "broker_service"
    await database.dispose()


async def role(tx: Transaction) -> str:
    return str((await tx.execute(text("SELECT current_user"))).scalar_one())
