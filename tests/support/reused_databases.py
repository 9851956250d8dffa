"""Databases that tests use one after another: to empty one takes a tenth of the time of creating one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text

from tests.support.postgres import connected, create_database, drop_database

# Emptied tables keep the pages of their deleted rows, which would slow down later tests.
LARGEST_BYTES = 4 * 1024 * 1024

# The event trigger records each statement that changes the schema, so that nobody uses such a database again.
# Migrations store no rows but their own number.
BOOKKEEPING = (
    "CREATE SCHEMA reuse",
    "CREATE TABLE reuse.schema_changes (tag text)",
    "CREATE TABLE reuse.alembic_version AS TABLE public.alembic_version",
    """
    CREATE FUNCTION reuse.record() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO reuse.schema_changes VALUES (tg_tag); END $$
    """,
    """
    CREATE FUNCTION reuse.empty() RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
    DECLARE
        name text;
    BEGIN
        FOR name IN SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE 'DELETE FROM public.' || name;
        END LOOP;
        PERFORM setval(format('%I.%I', schemaname, sequencename), start_value, false) FROM pg_sequences;
        INSERT INTO public.alembic_version TABLE reuse.alembic_version;
    END $$
    """,
    "CREATE EVENT TRIGGER reuse ON ddl_command_end EXECUTE FUNCTION reuse.record()",
    "ALTER EVENT TRIGGER reuse ENABLE ALWAYS",
)
END_OTHER_SESSIONS = """
    SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
REUSABLE = """
    SELECT NOT EXISTS (TABLE reuse.schema_changes) AND sum(pg_table_size(oid)) <= :largest
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


async def prepare_template(url: str) -> None:
    """Let copies of this database be emptied."""
    async with connected(url) as connection:
        for statement in BOOKKEEPING:
            await connection.execute(text(statement))


class ReusedDatabases:
    """Lends copies of a template; each is as good as new when it is lent."""

    def __init__(self, server: str, template: str) -> None:
        self._server = server
        self._template = template
        self._idle: list[str] = []

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[str]:
        url = self._idle.pop() if self._idle else await create_database(self._server, self._template)
        reusable = False
        try:
            yield url
            reusable = await _empty(url)
        finally:
            if reusable:
                self._idle.append(url)
            else:
                await drop_database(self._server, url)

    async def close(self) -> None:
        while self._idle:
            await drop_database(self._server, self._idle.pop())


async def _empty(url: str) -> bool:
    """Whether the database is as it was when it was created: no rows, no sessions, the same schema."""
    async with connected(url) as connection:
        await connection.execute(text(END_OTHER_SESSIONS))
        reusable = await connection.execute(text(REUSABLE), {"largest": LARGEST_BYTES})
        if not reusable.scalar_one():
            return False
        await connection.execute(text("SELECT reuse.empty()"))
        return True
