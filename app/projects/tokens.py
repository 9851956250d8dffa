"""Projects, and the tokens of those who may act in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Project:
    id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """A credential of a caller; an `admin` token may also create projects and tokens.

    Without `expires_at`, it is valid until it is revoked.
    """

    id: UUID
    project_id: UUID
    project: str
    name: str
    admin: bool
    created_at: datetime
    revoked_at: datetime | None
    expires_at: datetime | None = None
