"""Callers, and the parts of a call besides its body."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.errors import FieldError, InvalidHeader
from app.oci.reference import canonical_registry
from app.registry.auth.credentials import Credential
from app.registry.auth.registry_auth import GivenCredential


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
    """A caller's key, and the hash of the method, path and body of its request.

    The hash of the caller's identity and credentials is added when the operation is accepted.
    """

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One request that changes something: its project, its caller and the caller's own registry credentials.

    `credentials` are by place (`host` or `host/path`); `registry_auth` are those that the caller sent, each
    with its place if the caller named one. Neither is ever stored in clear.
    """

    project_id: UUID
    by: str
    token_id: UUID | None = None
    idempotency: Idempotency | None = None
    registry_auth: Sequence[GivenCredential] = ()
    credentials: Mapping[str, Credential] = field(default_factory=dict)

    def check_places(self, registries: Iterable[str]) -> None:
        """Refuse a credential for a registry that the call does not name, since the call would not use it."""
        named = {canonical_registry(registry) for registry in registries}
        for place, _ in self.registry_auth:
            if place is not None and place.partition("/")[0] not in named:
                raise _invalid(
                    f"The credential for {place} is not used: this call names "
                    f"{', '.join(sorted(named)) or 'no registry'}. Correct its serveraddress, or omit it."
                )

    def credentials_for(self, registries: Collection[str]) -> Mapping[str, Credential]:
        """The credentials by place; a credential without a place is for the only one of the registries."""
        found = dict(self.credentials)
        for place, credential in self.registry_auth:
            named = place or canonical_registry(_only(set(registries)))
            if place is None and any(named == other for other, _ in self.registry_auth):
                raise _invalid(f"Several credentials of X-Registry-Auth are for {named}.")
            found[named] = credential
        return found


def _only(registries: set[str]) -> str:
    if len(registries) != 1:
        raise _invalid("The credential does not name its registry. Add serveraddress.")
    return registries.pop()


def _invalid(detail: str) -> InvalidHeader:
    return InvalidHeader(detail, errors=[FieldError("header:X-Registry-Auth", detail)])
