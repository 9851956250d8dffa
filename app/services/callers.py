"""Callers, and the parts of a call besides its body."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from app.errors import FieldError, InvalidHeader
from app.registry.auth.credentials import Credential


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a token; each call is answered within its project."""

    project_id: UUID
    project: str
    token_id: UUID
    name: str
    admin: bool


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key, and the hash of the method, path and body of the request that it stands for."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One request that changes something: its project, its caller and the caller's own registry credentials.

    `credentials` are by registry host; `registry_auth` is a credential that the caller sent, with its host if
    the caller named one. Neither is ever stored in clear.
    """

    project_id: UUID
    by: str
    idempotency: Idempotency | None = None
    registry_auth: tuple[str | None, Credential] | None = None
    credentials: Mapping[str, Credential] = field(default_factory=dict)

    def credentials_for(self, registries: Collection[str]) -> Mapping[str, Credential]:
        """The credentials for these registries; a credential without a host is for the only registry."""
        if self.registry_auth is None:
            return self.credentials
        host, credential = self.registry_auth
        return {**self.credentials, host or _only(set(registries)): credential}


def _only(registries: set[str]) -> str:
    if len(registries) != 1:
        detail = "The credential does not name its registry. Add serveraddress."
        raise InvalidHeader(detail, errors=[FieldError("header:X-Registry-Auth", detail)])
    return registries.pop()
