"""Projects and tokens."""

from __future__ import annotations

from pydantic import Field

from app.api.schemas.common import Body, Document, Name


class CreateProject(Body):
    """A room of its own: nothing in it is seen from another."""

    name: Name


class Project(Document):
    id: str
    name: str
    created_at: str


class ProjectPage(Document):
    items: list[Project]
    next_cursor: str | None = None


class CreateToken(Body):
    """A token that acts in one project."""

    name: Name
    project: Name = "default"
    admin: bool = Field(False, description="May make projects and tokens.")


class Token(Document):
    id: str
    name: str
    project: str
    admin: bool
    created_at: str


class NewToken(Token):
    token: str = Field(description="Shown this once; only its hash is kept.")


class TokenPage(Document):
    items: list[Token]
    next_cursor: str | None = None
