"""Projects and tokens."""

from __future__ import annotations

from pydantic import Field

from app.api.filters import Moment
from app.api.schemas.common import Body, Document, Name


class CreateProject(Body):
    """A new project. Projects are isolated from each other."""

    name: Name


class Project(Document):
    id: str
    name: str
    created_at: str


class ProjectPage(Document):
    items: list[Project]
    next_cursor: str | None = None


class CreateToken(Body):
    """A new token for one project."""

    name: Name
    project: Name = "default"
    admin: bool = Field(False, description="Whether the token may create projects and tokens.")
    expires_at: Moment | None = Field(
        None, description="When the token expires. By default it is valid until it is revoked."
    )


class Token(Document):
    id: str
    name: str
    project: str
    admin: bool
    created_at: str
    expires_at: str | None = Field(None, description="When the token expires, if it does.")


class NewToken(Token):
    token: str = Field(description="Shown only in this response. The broker stores only its hash.")


class TokenPage(Document):
    items: list[Token]
    next_cursor: str | None = None
