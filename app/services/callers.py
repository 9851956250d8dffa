"""Who calls, and what a call brings along besides its body."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from app.errors import FieldError, InvalidHeader
from app.registry.auth.credentials import Credential


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a token: every question is asked, and answered, within its project."""

    project_id: UUID
    project: str
    token_id: UUID
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

    `credentials` are by registry host; `registry_auth` is one that the caller sent, with the host if it named
    one. Neither is ever stored in clear.
    """

    project_id: UUID
    by: str
    idempotency: Idempotency | None = None
    registry_auth: tuple[str | None, Credential] | None = None
    credentials: Mapping[str, Credential] = field(default_factory=dict)

    def credentials_for(self, registries: Collection[str]) -> Mapping[str, Credential]:
        """What may be used at these registries; one that names no host is for the only one there is."""
        if self.registry_auth is None:
            return self.credentials
        host, credential = self.registry_auth
        return {**self.credentials, host or _only(set(registries)): credential}


def _only(registries: set[str]) -> str:
    if len(registries) != 1:
        detail = "It does not say which registry it is for: add serveraddress"
        raise InvalidHeader(detail, errors=[FieldError("header:X-Registry-Auth", detail)])
    return registries.pop()
