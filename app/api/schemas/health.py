"""Health and version."""

from __future__ import annotations

from app.api.schemas.common import Document


class Health(Document):
    status: str


class Version(Document):
    version: str
