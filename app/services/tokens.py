"""Projects and the tokens that may act in them."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime
from uuid import UUID

from app.errors import FieldError, Forbidden, InvalidInput, Unauthenticated
from app.oci.text import shown
from app.projects.paging import Position
from app.projects.tokens import Project, Token
from app.services.callers import Caller
from app.services.quotas import Quotas
from app.store import tokens as stored
from app.store.database import Database
from app.store.row_security.scopes import SYSTEM

PREFIX = "mbt_"
NAME = r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?"
DEFAULT_PROJECT = "default"
# The name of the token from BROKER_ADMIN_TOKEN.
OPERATOR = "operator"


class Tokens:
    """A token has 256 random bits. Only its hash is stored, so its text is shown once, at its creation."""

    def __init__(self, database: Database, quotas: Quotas | None = None) -> None:
        """Without quotas, as on the operator's command line, the number of tokens is unlimited."""
        self._database = database
        self._quotas = quotas

    async def identify(self, text: str) -> Caller:
        """The holder of the token. Unknown, expired and revoked tokens all raise the same error."""
        async with self._database.transaction(SYSTEM) as tx:
            token = await stored.find_token(tx, _hash(text))
        if token is None:
            raise Unauthenticated("The token is unknown, has expired, or was revoked.")
        return Caller(token.project_id, token.project, token.id, token.name, token.admin)

    async def bootstrap(self, text: str | None) -> str | None:
        """Make sure that an admin token exists: the operator's own, or else one created at the first start.

        The operator's token is valid from now on, even if it was revoked, and replaces the one before it.
        Returns the text of a token that was created, which is shown only now.
        """
        async with self._database.transaction(SYSTEM) as tx:
            # Of processes that start together only one may create the first token.
            await stored.lock_bootstrap(tx)
            project = await stored.ensure_project(tx, DEFAULT_PROJECT)
            if text is not None:
                await stored.put_only_token(tx, project, name=OPERATOR, hashed=_hash(text))
                return None
            if await stored.has_tokens(tx):
                return None
            text = _make()
            await stored.insert_token(tx, project, name="admin", admin=True, hashed=_hash(text))
            return text

    async def create(
        self, project_name: str, name: str, *, admin: bool, expires_at: datetime | None = None
    ) -> tuple[Token, str]:
        """Create a token of an existing project; return it with its text."""
        _check_name(name)
        if expires_at is not None and expires_at <= datetime.now(UTC):
            detail = "The token would have expired already. Choose a time in the future."
            raise InvalidInput(detail, errors=[FieldError("/expires_at", detail)])
        text = _make()
        async with self._database.transaction(SYSTEM) as tx:
            project = await stored.get_project(tx, project_name)
            token = await stored.insert_token(
                tx, project, name=name, admin=admin, hashed=_hash(text), expires_at=expires_at
            )
            if self._quotas is not None:
                await self._quotas.check_tokens(tx, project.id)
        return token, text

    async def live(self) -> list[Token]:
        """All live tokens, for the command line."""
        async with self._database.transaction(SYSTEM) as tx:
            return await stored.live_tokens(tx)

    async def page(self, *, before: Position | None, limit: int) -> list[Token]:
        async with self._database.transaction(SYSTEM) as tx:
            return await stored.page_tokens(tx, before=before, limit=limit)

    async def revoke(self, token_id: UUID) -> None:
        async with self._database.transaction(SYSTEM) as tx:
            await stored.revoke_token(tx, token_id)

    async def create_project(self, name: str) -> Project:
        async with self._database.transaction(SYSTEM) as tx:
            return await stored.insert_project(tx, name)

    async def ensure_project(self, name: str) -> Project:
        _check_name(name)
        async with self._database.transaction(SYSTEM) as tx:
            return await stored.ensure_project(tx, name)

    async def page_projects(self, *, before: Position | None, limit: int) -> list[Project]:
        async with self._database.transaction(SYSTEM) as tx:
            return await stored.page_projects(tx, before=before, limit=limit)


def require_admin(caller: Caller) -> None:
    if not caller.admin:
        raise Forbidden("This call needs an admin token.")


def _check_name(name: str) -> None:
    """For the command line, which no schema of the API checks."""
    if not re.fullmatch(NAME, name):
        raise InvalidInput(
            f'"{shown(name, 64)}" is not a valid name. Use 1 to 63 of a-z, 0-9, ".", "_" and "-", '
            "with a letter or a digit at both ends."
        )


def _make() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def _hash(text: str) -> bytes:
    # Plain SHA-256 is enough for 256 random bits; a password would need a slow hash.
    return hashlib.sha256(text.encode()).digest()
