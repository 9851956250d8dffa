"""Projects and the tokens that may act in them."""

from __future__ import annotations

import hashlib
import re
import secrets
from uuid import UUID

from app.errors import Forbidden, InvalidInput, Unauthenticated
from app.oci.text import shown
from app.projects.paging import Position
from app.projects.tokens import Project, Token
from app.services.callers import Caller
from app.store import tokens as stored
from app.store.database import Database

PREFIX = "mbt_"
NAME = r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?"
DEFAULT_PROJECT = "default"
# The name that the token of BROKER_ADMIN_TOKEN has.
OPERATOR = "operator"


class Tokens:
    """Tokens have 256 random bits; only their hash is kept, so that they are shown once, when made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def identify(self, text: str) -> Caller:
        """Who the token belongs to; Unauthenticated alike for unknown and revoked ones."""
        async with self._database.reading() as tx:
            token = await stored.find_token(tx, _hash(text))
        if token is None:
            raise Unauthenticated("The token is not known, or was revoked")
        return Caller(token.project_id, token.project, token.id, token.name, token.admin)

    async def bootstrap(self, text: str | None) -> str | None:
        """Make sure that someone may call: the operator's own admin token, else one made at the first start.

        The operator's is valid from here on, even if it was revoked, and the one before it no longer.
        Returns the text of a token made here, which is the only time that it can be known.
        """
        async with self._database.transaction() as tx:
            # Processes that start together must not each find that nobody has begun.
            await stored.take_turn(tx)
            project = await stored.ensure_project(tx, DEFAULT_PROJECT)
            if text is not None:
                await stored.put_only_token(tx, project, name=OPERATOR, hashed=_hash(text))
                return None
            if await stored.has_tokens(tx):
                return None
            made = _make()
            await stored.insert_token(tx, project, name="admin", admin=True, hashed=_hash(made))
            return made

    async def create(self, project_name: str, name: str, *, admin: bool) -> tuple[Token, str]:
        """A new token of a project that exists, and its text."""
        _check_name(name)
        text = _make()
        async with self._database.transaction() as tx:
            project = await stored.get_project(tx, project_name)
            token = await stored.insert_token(tx, project, name=name, admin=admin, hashed=_hash(text))
        return token, text

    async def live(self) -> list[Token]:
        """All of them, for the command line."""
        async with self._database.transaction() as tx:
            return await stored.live_tokens(tx)

    async def page(self, *, before: Position | None, limit: int) -> list[Token]:
        async with self._database.transaction() as tx:
            return await stored.page_tokens(tx, before=before, limit=limit)

    async def revoke(self, token_id: UUID) -> None:
        async with self._database.transaction() as tx:
            await stored.revoke_token(tx, token_id)

    async def create_project(self, name: str) -> Project:
        async with self._database.transaction() as tx:
            return await stored.insert_project(tx, name)

    async def ensure_project(self, name: str) -> Project:
        _check_name(name)
        async with self._database.transaction() as tx:
            return await stored.ensure_project(tx, name)

    async def page_projects(self, *, before: Position | None, limit: int) -> list[Project]:
        async with self._database.transaction() as tx:
            return await stored.page_projects(tx, before=before, limit=limit)


def require_admin(caller: Caller) -> None:
    if not caller.admin:
        raise Forbidden("This needs an admin token")


def _check_name(name: str) -> None:
    """As the API's callers are held to it, for the command line."""
    if not re.fullmatch(NAME, name):
        raise InvalidInput(
            f'"{shown(name, 64)}" is not a name: take 1 to 63 of a-z, 0-9, ".", "_" and "-", '
            "with a letter or a digit at both ends"
        )


def _make() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def _hash(text: str) -> bytes:
    # Plain SHA-256 is enough for 256 random bits; a password would need a slow hash.
    return hashlib.sha256(text.encode()).digest()
