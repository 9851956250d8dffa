"""The connection pool, and transactions that end before the reply."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from sqlalchemy import URL, Engine, ExceptionContext, NullPool, event, make_url
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.errors import Unavailable
from app.store.row_security.scopes import Roles, Scope, ScopedConnection, enter

Transaction = AsyncConnection

CONNECT_SECONDS = 10
POOL_WAIT_SECONDS = 5
RETRY_AFTER_SECONDS = 2

SERVER_SETTINGS = {
    "application_name": "manifest-broker",
    "timezone": "UTC",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    # Compiling a plan takes longer than any of our statements runs.
    "jit": "off",
}
# A little above statement_timeout: it bounds the wait for a server that no longer answers.
COMMAND_SECONDS = 40

# https://www.postgresql.org/docs/current/errcodes-appendix.html: lost connections, a server that stops or
# starts, too many connections or a full disk, a serialization failure or a deadlock, a timeout of a lock, a
# statement or an idle session, and a standby that can't write yet.
_TRANSIENT_CLASSES = frozenset({"08", "53", "40"})
_TRANSIENT_STATES = frozenset(
    {"57P01", "57P02", "57P03", "57P05", "57014", "55P03", "55000", "25P03", "25006"}
)

# A wrong password or role, a missing privilege, or a role that can't be assumed because it is missing.
_LOGIN_STATES = frozenset({"28P01", "28000", "42501", "22023"})

# Parameters of libpq's URLs that asyncpg takes under another name or as a setting of the server.
_LIBPQ_TLS = "sslmode"
_LIBPQ_SETTINGS = frozenset({"application_name", "search_path", "timezone"})


def dump_json(value: object) -> str:
    """JSON for Postgres: U+0000 and lone surrogates, which it can't store, become U+FFFD."""
    text = json.dumps(value, ensure_ascii=False)
    if "\\u0000" not in text and _encodable(text):
        return text
    return json.dumps(_storable(value), ensure_ascii=False)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _storable(value: Any) -> Any:
    match value:
        case str():
            replaced = value.replace("\0", "\ufffd")
            return replaced.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case Mapping():
            return {_storable(key): _storable(item) for key, item in value.items()}
        case list() | tuple():
            return [_storable(item) for item in value]
        case _:
            return value


def create_engine(
    url: str,
    *,
    pool_size: int | None = None,
    pool_wait: float = POOL_WAIT_SECONDS,
    command_seconds: float = COMMAND_SECONDS,
    autocommit: bool = False,
    patient: bool = False,
    roles: Roles | None = None,
) -> AsyncEngine:
    """An engine for `postgresql://…` in libpq's syntax; without a pool size it opens a connection each time.

    A `patient` engine has no timeouts for statements, as migrations need.
    """
    address, arguments = _address(url)
    arguments["command_timeout"] = command_seconds
    arguments["connection_class"] = ScopedConnection
    if roles is not None and roles.is_switched:
        arguments["server_settings"]["role"] = roles.service
    if patient:
        arguments["server_settings"] |= dict.fromkeys(("statement_timeout", "lock_timeout"), "0")
        arguments["command_timeout"] = None
    options: dict[str, Any] = (
        {"poolclass": NullPool}
        if pool_size is None
        else {
            "pool_size": pool_size,
            "max_overflow": 0,
            "pool_timeout": pool_wait,
            "pool_use_lifo": True,
        }
    )
    if autocommit:
        options["isolation_level"] = "AUTOCOMMIT"
    return create_async_engine(
        address,
        connect_args=arguments,
        json_serializer=dump_json,
        # Tracebacks are logged, and parameters are callers' data.
        hide_parameters=True,
        **options,
    )


def _address(url: str) -> tuple[URL, dict[str, Any]]:
    address = make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+asyncpg")
    settings = dict(SERVER_SETTINGS)
    settings |= {name: str(value) for name, value in address.query.items() if name in _LIBPQ_SETTINGS}
    arguments: dict[str, Any] = {
        "server_settings": settings,
        "timeout": CONNECT_SECONDS,
    }
    if _LIBPQ_TLS in address.query:
        arguments["ssl"] = address.query[_LIBPQ_TLS]
    return address.difference_update_query([_LIBPQ_TLS, *_LIBPQ_SETTINGS]), arguments


class Database:
    """A connection pool, and the transactions that use it.

    Each transaction names its scope: one project, or SYSTEM. Without a scope, it sees the rows of no project.
    """

    def __init__(
        self,
        url: str,
        *,
        roles: Roles | None = None,
        pool_size: int = 10,
        pool_wait: float = POOL_WAIT_SECONDS,
        command_seconds: float = COMMAND_SECONDS,
    ) -> None:
        self._engine = create_engine(
            url, pool_size=pool_size, pool_wait=pool_wait, command_seconds=command_seconds, roles=roles
        )
        self._roles = roles
        _drop_closed_connections(self._engine.sync_engine)
        _translate_outages(self._engine.sync_engine)

    def snapshot(self, scope: Scope = None) -> AbstractAsyncContextManager[Transaction]:
        """A read-only transaction whose statements all see the same snapshot."""
        return self._begin(scope, isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def transaction(self, scope: Scope = None) -> AbstractAsyncContextManager[Transaction]:
        """Commit when the block ends, roll back when it raises; `Unavailable` without a database."""
        return self._begin(scope)

    @asynccontextmanager
    async def _begin(self, scope: Scope, **options: object) -> AsyncIterator[Transaction]:
        async with AsyncExitStack() as stack:
            connection = await self._connect(stack)
            if options:
                await connection.execution_options(**options)
            enter(connection, scope, self._roles)
            async with connection.begin():
                yield connection

    async def _connect(self, stack: AsyncExitStack) -> AsyncConnection:
        try:
            return await stack.enter_async_context(self._engine.connect())
        except PoolTimeout as failure:
            raise Unavailable("Too many requests are waiting for the database.", retry_after=1) from failure
        except (OSError, DBAPIError) as failure:
            raise _no_role() if is_refused_login(failure) else _unavailable() from failure

    async def dispose(self) -> None:
        await self._engine.dispose()


@asynccontextmanager
async def savepoint(tx: Transaction) -> AsyncIterator[None]:
    """Roll back the block's writes if it raises; `Unavailable` if the database is unreachable or busy."""
    async with tx.begin_nested():
        yield


def _drop_closed_connections(engine: Engine) -> None:
    @event.listens_for(engine, "checkout")
    def checkout(connection: Any, _record: object, _proxy: object) -> None:
        # The driver notices a closed connection by itself, so a restart of the server causes no errors, and a
        # checkout needs no round trip.
        if connection.driver_connection.is_closed():
            raise InvalidatePoolError


def _translate_outages(engine: Engine) -> None:
    """Translate where a failure is known to be a statement's, and not a caller's own `asyncio.timeout`."""

    @event.listens_for(engine, "handle_error")
    def translate(context: ExceptionContext) -> None:
        failure = context.original_exception
        if not isinstance(failure, Exception):
            return
        if isinstance(failure, OSError):
            # The driver's TimeoutError means that the server no longer answers, and may have read anything.
            context.is_disconnect = True
        if context.is_disconnect or _is_transient(failure):
            raise _unavailable() from failure


def _is_transient(failure: BaseException) -> bool:
    # A migration changed a table in the meantime: the driver prepares the next statement again.
    if isinstance(failure, AsyncAdapt_asyncpg_dbapi.InvalidCachedStatementError):
        return True
    state = getattr(failure, "sqlstate", None) or ""
    return state in _TRANSIENT_STATES or state[:2] in _TRANSIENT_CLASSES


def is_refused_login(failure: BaseException) -> bool:
    """Whether the service's role does not exist, may not log in, or can't be assumed."""
    return getattr(getattr(failure, "orig", None), "sqlstate", None) in _LOGIN_STATES


def _no_role() -> Unavailable:
    return Unavailable(
        "The broker's database refuses the role of the service. Run manifest-broker migrate. If it is still "
        "refused then, check DATABASE_URL and BROKER_SERVICE_ROLE.",
        retry_after=5,
    )


def _unavailable() -> Unavailable:
    return Unavailable(
        "The broker's database can't be reached at the moment.", retry_after=RETRY_AFTER_SECONDS
    )
