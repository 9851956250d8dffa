"""The scope of a transaction: the rows of one project, or with SYSTEM those of all projects.

A scope ends with its transaction, so a pooled connection never carries a project to the next caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

# The setting that the tables' policies read.
PROJECT = "broker.project_id"


class System(Enum):
    """The scope of work across all projects, such as the claim of operations."""

    SYSTEM = "system"


SYSTEM = System.SYSTEM
# None sees the rows of no project.
Scope = UUID | System | None


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles that a connection acts as: `service` within a project, and `system` for all projects.

    `login` is the role that connects; it may be `service` itself. If a superuser migrates, `owner` owns the
    tables.
    """

    login: str
    service: str
    system: str
    owner: str

    @property
    def is_switched(self) -> bool:
        """Whether a connection must assume the service's role after its login."""
        return self.login != self.service


class ScopedConnection(asyncpg.Connection):  # type: ignore[misc]
    """Sends the scope of a transaction with its BEGIN, so that the scope costs no extra round trip."""

    roles: Roles | None = None
    scope: Scope = None

    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False, deferrable: bool = False
    ) -> Any:
        """A transaction as SQLAlchemy's dialect uses it: started once, then committed or rolled back."""
        begin = ["BEGIN"]
        if isolation is not None:
            begin.append(f"ISOLATION LEVEL {isolation.replace('_', ' ').upper()}")
        begin += ["READ ONLY"] * readonly + ["DEFERRABLE"] * deferrable
        return _Transaction(self, f"{' '.join(begin)}; {self._enter_scope()}")

    def _enter_scope(self) -> str:
        match self.scope:
            case UUID() as project_id:
                return f"SET LOCAL {PROJECT} = '{project_id}'"
            case System() if self.roles is not None:
                return f"SET LOCAL ROLE {quoted(self.roles.system)}"
            case _:
                return ""


class _Transaction:
    def __init__(self, connection: ScopedConnection, begin: str) -> None:
        self._connection = connection
        self._begin = begin

    async def start(self) -> None:
        try:
            await self._connection.execute(self._begin)
        except asyncpg.PostgresError:
            # BEGIN may have succeeded before the scope statement failed.
            await self._connection.execute("ROLLBACK")
            raise

    async def commit(self) -> None:
        await self._connection.execute("COMMIT")

    async def rollback(self) -> None:
        await self._connection.execute("ROLLBACK")


def quoted(name: str) -> str:
    """The role's name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def enter(connection: AsyncConnection, scope: Scope, roles: Roles | None) -> None:
    """Set the scope of the connection's next transaction."""
    driver = _driver(connection)
    driver.scope, driver.roles = scope, roles


@asynccontextmanager
async def acting_for(tx: AsyncConnection, project_id: UUID) -> AsyncIterator[None]:
    """Within a SYSTEM transaction, restrict the block to one project."""
    roles = _driver(tx).roles
    await _switch(tx, roles.service if roles is not None and roles.is_switched else "none", str(project_id))
    yield
    # After an error, the transaction rolls back to its beginning or to a savepoint before the block.
    await _switch(tx, roles.system if roles is not None else "none", "")


@asynccontextmanager
async def searching(tx: AsyncConnection) -> AsyncIterator[None]:
    """Within a project's transaction, search without row policies for the length of the block.

    Policies prevent Postgres from using indexes for conditions that might leak values, such as `@>`. Only ids
    may leave the block. The rows themselves are read in the project's scope.
    """
    driver = _driver(tx)
    if driver.roles is None or driver.scope is SYSTEM:
        yield
        return
    await _take(tx, driver.roles.system)
    yield
    await _take(tx, driver.roles.service if driver.roles.is_switched else "none")


async def _take(tx: AsyncConnection, role: str) -> None:
    await tx.execute(select(func.set_config("role", role, True)))


async def _switch(tx: AsyncConnection, role: str, project_id: str) -> None:
    await tx.execute(select(func.set_config("role", role, True), func.set_config(PROJECT, project_id, True)))


def _driver(connection: AsyncConnection) -> ScopedConnection:
    sync = connection.sync_connection
    if sync is None:
        raise RuntimeError("The connection is not open.")
    return cast("ScopedConnection", sync.connection.driver_connection)
