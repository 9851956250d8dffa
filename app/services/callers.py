"""Who calls, and what a call brings along besides its body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from app.registry.credentials import Credential


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a token: every question is asked, and answered, within its project."""

    project_id: UUID
    project: str
    name: str
    admin: bool


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key, and what it must stand for: the request's method, path and body, hashed."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One request that changes something: in which project, by whom, and with which credentials of its own.

    `credentials` are by registry host, and never stored in clear.
    """

    project_id: UUID
    by: str
    idempotency: Idempotency | None = None
    credentials: Mapping[str, Credential] = field(default_factory=dict)
