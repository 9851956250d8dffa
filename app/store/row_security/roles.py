"""Creates the database roles, and grants their privileges.

The service acts as a role that owns nothing. Row policies bind that role to one project. For work across
projects, the service assumes a second role for one transaction; the policies of that role admit all rows.
Migrations run under the role that owns the tables. That is the migrating role, or a role created here if the
migrating role is a superuser.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ARRAY, Text, bindparam, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import InvalidInput
from app.store.row_security.scopes import Roles, quoted
from app.store.row_security.verifier import scram_verifier
from app.store.tables import metadata

SERVICE = "broker_service"
# From this version of Postgres on, each role grant states whether privileges are inherited.
INHERITANCE_BY_GRANT = 160_000
# Errors from another broker that concurrently creates the same roles on this server: the role or the
# membership exists already, or its row has just changed.
MADE_BY_OTHERS = frozenset({"42710", "23505", "XX000"})
RIGHT_IS_MISSING = "42501"
# The table in which Alembic keeps the version of the schema.
VERSION = "alembic_version"
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")

_ROLE = text("SELECT rolsuper OR rolbypassrls AS is_above FROM pg_roles WHERE rolname = :name")
_IS_SUPERUSER = text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
_OWNED = text("""
    SELECT relname FROM pg_class WHERE pg_get_userbyid(relowner) = :name AND relkind IN ('r', 'p') LIMIT 1
""")
_MAY_ACT_AS = text("SELECT pg_has_role(:member, :role, :how)")
_INHERITS = text("SELECT pg_has_role(:member, :role, 'USAGE')")
_TABLES = text("""
    SELECT relname AS name, rolname AS owner, rolsuper AS is_superusers, relrowsecurity AS is_bound,
        ARRAY(SELECT polname FROM pg_policy WHERE polrelid = pg_class.oid) AS policies,
        NOT EXISTS (
            SELECT FROM unnest(:roles) AS role,
                unnest(CASE WHEN relname = :version THEN :few ELSE :rights END) AS r
            WHERE NOT has_table_privilege(role, pg_class.oid, r)
        ) AS is_granted
    FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner
    WHERE relnamespace = CAST(current_schema() AS regnamespace) AND relname = ANY(:names)
""").bindparams(*(bindparam(name, type_=ARRAY(Text)) for name in ("names", "roles", "few", "rights")))
_LACKS_SCHEMA = text("SELECT NOT has_schema_privilege(:role, current_schema(), 'USAGE')")


def roles_of(url: str, service: str = SERVICE) -> Roles:
    """The roles of a service that connects with this URL."""
    return Roles(
        make_url(url).username or "", service=service, system=f"{service}_system", owner=f"{service}_owner"
    )


async def ensure_roles(connection: AsyncConnection, roles: Roles, password: str | None) -> None:
    """Create the missing roles, and give them the privileges and policies that they need.

    It is idempotent. `password` is that of the service's role, if that role logs in itself.
    """
    await _ensure_exists(connection, roles.service, None if roles.is_switched else password)
    await _ensure_exists(connection, roles.system, None)
    await _check_bound(connection, roles)
    await _ensure_members(connection, roles)
    if await _ask(connection, _IS_SUPERUSER):
        await _hand_over_tables(connection, roles)
    await _admit(connection, roles)


async def _ensure_exists(connection: AsyncConnection, role: str, password: str | None) -> None:
    if (await connection.execute(_ROLE, {"name": role})).first() is not None:
        return
    login = f"LOGIN PASSWORD '{scram_verifier(password)}'" if password else "NOLOGIN"
    await _change(
        connection,
        # Without inheritance, the service must assume the system role explicitly.
        f"CREATE ROLE {quoted(role)} {login} NOINHERIT",
        f"The role {role} is missing, and the role that migrates may not create it. As a superuser, run: "
        f"CREATE ROLE {quoted(role)} {'LOGIN PASSWORD … ' if password else ''}NOINHERIT.",
    )


async def set_password(connection: AsyncConnection, role: str, password: str) -> None:
    """Set the password of a login role to the one in its URL."""
    await _change(
        connection,
        f"ALTER ROLE {quoted(role)} LOGIN PASSWORD '{scram_verifier(password)}'",
        f"The role {role} can't log in with the password of DATABASE_URL, and the role that migrates may not "
        f"change it. As a superuser, run: ALTER ROLE {quoted(role)} LOGIN PASSWORD ….",
    )


async def _check_bound(connection: AsyncConnection, roles: Roles) -> None:
    """Refuse roles that bypass the policies."""
    for role in (roles.service, roles.system):
        if await _ask(connection, _ROLE, name=role):
            raise InvalidInput(
                f"The role {role} is a superuser or bypasses row-level security. Name another role in "
                f"BROKER_SERVICE_ROLE, or run: ALTER ROLE {quoted(role)} NOSUPERUSER NOBYPASSRLS."
            )
        if owned := (await connection.execute(_OWNED, {"name": role})).scalar():
            raise InvalidInput(
                f"The role {role} owns the table {owned}. The role of the service must own nothing. Name "
                "another role in BROKER_SERVICE_ROLE."
            )


async def _ensure_members(connection: AsyncConnection, roles: Roles) -> None:
    """Make the service a member of the all-projects role, and its login a member of the service's role."""
    await _ensure_member(connection, roles.system, roles.service)
    if await _ask(connection, _INHERITS, member=roles.service, role=roles.system):
        raise InvalidInput(
            f"The role {roles.service} inherits the rights of {roles.system}. Run: "
            f"REVOKE {quoted(roles.system)} FROM {quoted(roles.service)}; "
            f"ALTER ROLE {quoted(roles.service)} NOINHERIT. Then migrate again."
        )
    if roles.is_switched:
        login = roles.login or str(await _ask(connection, text("SELECT session_user")))
        for role in (roles.service, roles.system):
            await _ensure_member(connection, role, login)


async def _ensure_member(connection: AsyncConnection, role: str, member: str) -> None:
    version = int(str(await _ask(connection, text("SHOW server_version_num"))))
    by_grant = version >= INHERITANCE_BY_GRANT
    how = "SET" if by_grant else "MEMBER"
    if await _ask(connection, _MAY_ACT_AS, member=member, role=role, how=how):
        return
    explicit = " WITH INHERIT FALSE, SET TRUE" if by_grant else ""
    grant = f"GRANT {quoted(role)} TO {quoted(member)}{explicit}"
    await _change(
        connection,
        grant,
        f"The role {member} may not act as {role}, and the role that migrates may not grant it. "
        f"As a superuser, run: {grant}.",
    )


async def _hand_over_tables(connection: AsyncConnection, roles: Roles) -> None:
    """Transfer a superuser's tables to a role without any other privilege."""
    owner = quoted(roles.owner)
    await _ensure_exists(connection, roles.owner, None)
    for table in await _tables(connection, roles):
        if table.is_superusers:
            await _change(connection, f"ALTER TABLE {quoted(table.name)} OWNER TO {owner}")
            if "owner" in table.policies:
                await _change(connection, f"ALTER POLICY owner ON {quoted(table.name)} TO {owner}")


async def _admit(connection: AsyncConnection, roles: Roles) -> None:
    """Grant both service roles access to the tables; the policies decide about the rows."""
    both = f"{quoted(roles.service)}, {quoted(roles.system)}"
    if await _ask(connection, _LACKS_SCHEMA, role=roles.service):
        schema = str(await _ask(connection, text("SELECT current_schema()")))
        await _change(connection, f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {both}")
    for table in await _tables(connection, roles):
        name, rights = quoted(table.name), "SELECT" if table.name == VERSION else ", ".join(RIGHTS)
        if not table.is_granted:
            await _change(connection, f"GRANT {rights} ON {name} TO {both}")
        if table.is_bound and "system" not in table.policies:
            await _change(
                connection, f"CREATE POLICY system ON {name} TO {quoted(roles.system)} USING (true)"
            )


async def _tables(connection: AsyncConnection, roles: Roles) -> list[Any]:
    values = {
        "names": [*metadata.tables, VERSION],
        "roles": [roles.service, roles.system],
        "version": VERSION,
        "few": ["SELECT"],
        "rights": list(RIGHTS),
    }
    return list(await connection.execute(_TABLES, values))


async def _ask(connection: AsyncConnection, question: Any, **values: str) -> object:
    return (await connection.execute(question, values)).scalar()


async def _change(connection: AsyncConnection, statement: str, remedy: str = "") -> None:
    """Run one statement in its own transaction, so that no two tables are locked at once."""
    await connection.commit()
    try:
        await connection.exec_driver_sql(statement)
    except DBAPIError as failure:
        await connection.rollback()
        state = getattr(failure.orig, "sqlstate", None)
        if state == RIGHT_IS_MISSING:
            raise InvalidInput(
                remedy
                or "The role that migrates lacks a right. As the owner of the tables or as a superuser, run: "
                f"{statement}."
            ) from failure
        if state not in MADE_BY_OTHERS:
            raise
    await connection.commit()
