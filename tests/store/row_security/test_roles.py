"""The roles of the database: made by a migration, bound by the policies, and owners of nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest
from sqlalchemy import make_url, text

from app.errors import InvalidInput, Unavailable
from app.settings import Settings
from app.store.database import Database, Transaction
from app.store.migrate import is_current, upgrade
from app.store.row_security.roles import roles_of
from app.store.row_security.scopes import SYSTEM, Scope, acting_for
from app.wiring.lifecycle import database_urls, migrate
from tests.support.migrations import migrate_to
from tests.support.postgres import ask, execute, passable_directory

PASSWORD = "a password with a ' and a \\"


def url_of(url: str, role: str, password: str = PASSWORD) -> str:
    return make_url(url).set(username=role, password=password).render_as_string(hide_password=False)


@asynccontextmanager
async def service(url: str, login: str | None = None, password: str = PASSWORD) -> AsyncIterator[Database]:
    """A pool of one connection, as the service has it."""
    url = url if login is None else url_of(url, login, password)
    database = Database(url, roles=roles_of(url, login or "broker_service"), pool_size=1)
    yield database
    await database.dispose()


@pytest.fixture
async def own_role(postgres_server: str) -> AsyncIterator[str]:
    """The name of a role that this test makes. Ask for it before the database, which goes first then."""
    name = f"service_{uuid4().hex[:8]}"
    yield name
    for each in (name, f"{name}_system", f"{name}_owner", f"{name}_login"):
        await execute(postgres_server, f'DROP ROLE IF EXISTS "{each}"')


async def two_projects(url: str) -> None:
    for name in ("mine", "theirs"):
        await execute(
            url,
            "WITH made AS ("
            f"    INSERT INTO projects (id, name) VALUES (gen_random_uuid(), '{name}') RETURNING id"
            ") INSERT INTO manifests (project_id, digest, media_type, raw) "
            "SELECT id, 'a', 'a/b', '' FROM made",
        )


async def id_of_mine(url: str) -> UUID:
    return UUID(str(await ask(url, "SELECT id FROM projects WHERE name = 'mine'")))


async def names(tx: Transaction) -> set[str]:
    found = await tx.execute(text("SELECT name FROM manifests JOIN projects ON projects.id = project_id"))
    return set(found.scalars())


async def test_a_transaction_sees_the_rows_of_its_scope_alone(database_url: str) -> None:
    await two_projects(database_url)
    mine = await id_of_mine(database_url)
    async with service(database_url) as database:
        for _ in range(2):
            for scope, expected in ((mine, {"mine"}), (SYSTEM, {"mine", "theirs"}), (None, set[str]())):
                async with database.transaction(scope) as tx:
                    assert await names(tx) == expected
                async with database.snapshot(scope) as tx:
                    assert await names(tx) == expected


async def test_work_for_all_projects_sees_one_project_while_it_acts_for_it(database_url: str) -> None:
    await two_projects(database_url)
    mine = await id_of_mine(database_url)
    async with service(database_url) as database, database.transaction(SYSTEM) as tx:
        async with acting_for(tx, mine):
            assert await names(tx) == {"mine"}
        assert await names(tx) == {"mine", "theirs"}


@pytest.mark.parametrize("scope", [uuid4(), SYSTEM, None])
async def test_the_service_owns_nothing_and_is_bound_by_row_level_security(
    database_url: str, scope: Scope
) -> None:
    question = """
        SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR EXISTS (
            SELECT FROM pg_class WHERE relowner = pg_roles.oid
        ) FROM pg_roles WHERE rolname = current_user
    """
    async with service(database_url) as database, database.transaction(scope) as tx:
        assert (await tx.execute(text(question))).scalar_one() is False


async def test_a_superuser_that_migrates_hands_the_tables_to_a_role_without_rights(database_url: str) -> None:
    owners = "SELECT string_agg(DISTINCT tableowner, ' ') FROM pg_tables WHERE schemaname = 'public'"
    assert await ask(database_url, owners) == "broker_service_owner"
    rights = "SELECT rolsuper OR rolcanlogin FROM pg_roles WHERE rolname = 'broker_service_owner'"
    assert await ask(database_url, rights) is False


async def test_a_service_with_a_url_of_its_own_gets_its_role_and_its_password(
    own_role: str, empty_database_url: str
) -> None:
    await upgrade(empty_database_url, service_url=url_of(empty_database_url, own_role), service=own_role)
    changed = url_of(empty_database_url, own_role, "another password")
    async with service(empty_database_url, own_role) as database, database.transaction(SYSTEM) as tx:
        assert await is_current(tx)
    await upgrade(empty_database_url, service_url=changed, service=own_role)
    async with service(changed, own_role, "another password") as database, database.transaction() as tx:
        assert (await tx.execute(text("SELECT session_user"))).scalar_one() == own_role


async def test_an_operator_may_make_the_roles_before_a_role_without_rights_migrates(
    own_role: str, empty_database_url: str
) -> None:
    login = f"{own_role}_login"
    await execute(empty_database_url, f"CREATE ROLE {login} LOGIN PASSWORD 'word'")
    await execute(empty_database_url, f"GRANT CREATE ON SCHEMA public TO {login}")
    migrating = url_of(empty_database_url, login, "word")
    with pytest.raises(InvalidInput, match=f'CREATE ROLE "{own_role}" NOINHERIT'):
        await upgrade(migrating, service=own_role)
    await execute(empty_database_url, f"CREATE ROLE {own_role} NOINHERIT")
    with pytest.raises(InvalidInput, match=f'CREATE ROLE "{own_role}_system" NOINHERIT'):
        await upgrade(migrating, service=own_role)
    await execute(empty_database_url, f"CREATE ROLE {own_role}_system")
    with pytest.raises(InvalidInput, match=f'GRANT "{own_role}_system" TO "{own_role}"'):
        await upgrade(migrating, service=own_role)
    for grant in (
        f"{own_role}_system TO {own_role}",
        f"{own_role} TO {login}",
        f"{own_role}_system TO {login}",
    ):
        await execute(empty_database_url, f"GRANT {grant}")
    await upgrade(migrating, service=own_role)
    database = Database(migrating, roles=roles_of(migrating, own_role))
    async with database.transaction(SYSTEM) as tx:
        assert (await tx.execute(text("SELECT current_user"))).scalar_one() == f"{own_role}_system"
    await database.dispose()


async def test_processes_of_the_version_before_go_on_as_the_owner_of_the_tables(
    own_role: str, empty_database_url: str
) -> None:
    login = f"{own_role}_login"
    await execute(empty_database_url, f"CREATE ROLE {login} LOGIN CREATEROLE PASSWORD 'word'")
    await execute(empty_database_url, f"GRANT CREATE ON SCHEMA public TO {login}")
    owner = url_of(empty_database_url, login, "word")
    await migrate_to(owner, "0014")
    before = Database(owner)
    await two_projects(owner)
    await upgrade(owner, service=own_role)
    async with before.transaction() as tx:
        assert await names(tx) == {"mine", "theirs"}
        assert (await tx.execute(text("UPDATE manifests SET media_type = 'c/d'"))).rowcount == 2
    await before.dispose()


async def test_a_role_that_does_not_own_the_tables_gets_the_statement_for_their_owner(
    own_role: str, empty_database_url: str
) -> None:
    login = f"{own_role}_login"
    await upgrade(empty_database_url)
    await execute(empty_database_url, f"CREATE ROLE {login} LOGIN CREATEROLE PASSWORD 'word'")
    await execute(empty_database_url, f"GRANT SELECT ON alembic_version TO {login}")
    with pytest.raises(InvalidInput, match=f'run: GRANT .* TO "{own_role}"'):
        await upgrade(url_of(empty_database_url, login, "word"), service=own_role)


@pytest.mark.parametrize("attribute", ["SUPERUSER", "BYPASSRLS"])
async def test_a_role_that_the_policies_do_not_bind_is_refused(
    own_role: str, empty_database_url: str, attribute: str
) -> None:
    await execute(empty_database_url, f"CREATE ROLE {own_role} {attribute}")
    with pytest.raises(InvalidInput, match="BROKER_SERVICE_ROLE"):
        await upgrade(empty_database_url, service=own_role)


async def test_the_embedded_mode_logs_in_as_the_role_of_the_service() -> None:
    with passable_directory() as directory:
        settings = Settings.model_validate({"data": directory / "data", "database_url": None})
        with database_urls(settings) as urls:
            await migrate(settings, urls)
            assert await ask(urls.service, "SELECT session_user || ' ' || current_user") == (
                "broker_service broker_service"
            )
            assert make_url(urls.service).password != make_url(urls.owner).password


async def test_a_service_that_starts_before_the_migration_names_the_remedy(empty_database_url: str) -> None:
    database = Database(empty_database_url, roles=roles_of(empty_database_url, "not_made_yet"))
    with pytest.raises(Unavailable, match="Run manifest-broker migrate"):
        async with database.transaction():
            pass
    await database.dispose()
