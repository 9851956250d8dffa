"""Projects and their tokens; of a token's text only the hash is stored."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ColumnElement, Row, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from app.errors import NameTaken, ProjectNotFound, TokenNotFound, Unauthenticated
from app.projects.paging import Position
from app.projects.tokens import Project, Token
from app.store.database import Transaction
from app.store.notifications import TOKEN_REVOKED, notify
from app.store.paging import newest_first
from app.store.row_security.scopes import acting_for
from app.store.tables import projects, tokens

# The number of an advisory lock; no other lock of this database has it.
BOOTSTRAP_LOCK = 0x6D62_0003
CLOCK = func.statement_timestamp()


async def ensure_project(tx: Transaction, name: str) -> Project:
    """The project of that name; creates it if it does not exist."""
    await tx.execute(upsert(projects).values(id=uuid4(), name=name).on_conflict_do_nothing())
    return await get_project(tx, name)


async def insert_project(tx: Transaction, name: str) -> Project:
    statement = upsert(projects).values(id=uuid4(), name=name).on_conflict_do_nothing().returning(projects)
    row = (await tx.execute(statement)).first()
    if row is None:
        raise NameTaken(f"The project {name} exists already. Choose another name.")
    return Project(row.id, row.name, row.created_at)


async def get_project(tx: Transaction, name: str) -> Project:
    row = (await tx.execute(select(projects).where(projects.c.name == name))).first()
    if row is None:
        raise ProjectNotFound(f"The project {name} does not exist.")
    return Project(row.id, row.name, row.created_at)


async def page_projects(tx: Transaction, *, before: Position | None, limit: int) -> list[Project]:
    """Newest first; `before` is the position of the last one seen."""
    rows = await tx.execute(newest_first(select(projects), projects, before, limit))
    return [Project(row.id, row.name, row.created_at) for row in rows]


async def insert_token(
    tx: Transaction,
    project: Project,
    *,
    name: str,
    admin: bool,
    hashed: bytes,
    expires_at: datetime | None = None,
) -> Token:
    """Store a token by its hash; NameTaken if a live token of the project has that name."""
    await _revoke_expired(tx, project, name)
    statement = (
        upsert(tokens)
        .values(id=uuid4(), project_id=project.id, name=name, admin=admin, hash=hashed, expires_at=expires_at)
        .on_conflict_do_nothing()
        .returning(tokens)
    )
    row = (await tx.execute(statement)).first()
    if row is None:
        raise NameTaken(
            f"The project {project.name} has a token {name} already. Revoke it, or choose another name."
        )
    return _view(row, project.name)


async def _revoke_expired(tx: Transaction, project: Project, name: str) -> None:
    """Release the name of an expired token."""
    expired = (tokens.c.name == name) & (tokens.c.expires_at <= CLOCK) & tokens.c.revoked_at.is_(None)
    async with acting_for(tx, project.id):
        statement = update(tokens).where(tokens.c.project_id == project.id, expired)
        await tx.execute(statement.values(revoked_at=tokens.c.expires_at))


async def lock_bootstrap(tx: Transaction) -> None:
    """Keep other processes from bootstrapping until this transaction ends."""
    await tx.execute(select(func.pg_advisory_xact_lock(bindparam(None, BOOTSTRAP_LOCK, BigInteger))))


async def put_only_token(tx: Transaction, project: Project, *, name: str, hashed: bytes) -> None:
    """Make this the project's one live token of that name, with admin rights.

    Each hash has one row for good, so a token that was revoked becomes live again in its own row.
    """
    live = tokens.c.revoked_at.is_(None)
    others = (tokens.c.project_id == project.id) & (tokens.c.name == name) & (tokens.c.hash != hashed)
    async with acting_for(tx, project.id):
        await tx.execute(update(tokens).where(others, live).values(revoked_at=func.now()))
    await notify(tx, TOKEN_REVOKED)
    given = {"project_id": project.id, "name": name, "admin": True, "revoked_at": None, "expires_at": None}
    await tx.execute(
        upsert(tokens)
        .values(id=uuid4(), hash=hashed, **given)
        .on_conflict_do_update(index_elements=[tokens.c.hash], set_=given)
    )


async def find_token(tx: Transaction, hashed: bytes) -> Token | None:
    """The live token with that hash."""
    row = (await tx.execute(_select().where(tokens.c.hash == hashed, _is_live()))).first()
    return _read(row) if row is not None else None


async def require_live(tx: Transaction, token_id: UUID) -> None:
    """Raise Unauthenticated if the token was revoked or has expired since its lookup."""
    live = select(tokens.c.id).where(tokens.c.id == token_id, _is_live())
    if (await tx.execute(live)).first() is None:
        raise Unauthenticated("The token was revoked, or has expired.")


async def live_among(tx: Transaction, token_ids: Collection[UUID]) -> set[UUID]:
    """Those of the tokens that are live."""
    live = select(tokens.c.id).where(tokens.c.id.in_(token_ids), _is_live())
    return set((await tx.execute(live)).scalars())


async def count_live(tx: Transaction, project_id: UUID) -> int:
    """The number of live tokens of a project."""
    live = select(func.count()).select_from(tokens).where(tokens.c.project_id == project_id, _is_live())
    found: int = (await tx.execute(live)).scalar_one()
    return found


async def has_tokens(tx: Transaction) -> bool:
    return (await tx.execute(select(tokens.c.id).limit(1))).first() is not None


async def live_tokens(tx: Transaction) -> list[Token]:
    query = _select().where(_is_live()).order_by(tokens.c.created_at, tokens.c.id)
    return [_read(row) for row in await tx.execute(query)]


async def page_tokens(tx: Transaction, *, before: Position | None, limit: int) -> list[Token]:
    """The live tokens, newest first; `before` is the position of the last one seen."""
    query = _select().where(_is_live())
    return [_read(row) for row in await tx.execute(newest_first(query, tokens, before, limit))]


async def revoke_token(tx: Transaction, token_id: UUID) -> None:
    statement = (
        update(tokens)
        .where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    if (await tx.execute(statement)).rowcount == 0:
        raise TokenNotFound(f"The token {token_id} does not exist, or was revoked.")
    await notify(tx, TOKEN_REVOKED, str(token_id))


def _is_live() -> ColumnElement[bool]:
    return tokens.c.revoked_at.is_(None) & or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > CLOCK)


def _select() -> Any:
    return select(tokens, projects.c.name.label("project")).join(
        projects, projects.c.id == tokens.c.project_id
    )


def _read(row: Row[Any]) -> Token:
    return _view(row, row.project)


def _view(row: Row[Any], project: str) -> Token:
    return Token(
        row.id, row.project_id, project, row.name, row.admin, row.created_at, row.revoked_at, row.expires_at
    )
