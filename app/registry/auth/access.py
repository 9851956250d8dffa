"""The caller of an operation: credentials, tenant, and whether insecure access is requested."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from app.oci.reference import Repository
from app.registry.auth.credentials import TOKEN_USER, Credential
from app.registry.auth.keychain import Keychain

__all__ = ["Access", "account_of"]


@dataclass(frozen=True, slots=True)
class Access:
    """`insecure` requests unverified TLS or plain HTTP; `tenant` separates the tokens of callers."""

    keychain: Keychain = field(default_factory=Keychain)
    insecure: bool = False
    tenant: str = ""

    async def account_at(self, repository: Repository) -> str:
        """The account under which a registry counts requests to a repository."""
        return account_of(self.tenant, await self.keychain.find(repository.registry, repository.path))


def account_of(tenant: str, credential: Credential) -> str:
    """An opaque name for an account of one tenant.

    The tenant is a part of it: anyone who knows a user name can get it refused with a wrong password, and
    must not close the account for another tenant. All tokens of a tenant are one account at a registry.
    """
    who = credential.shown_name or ("" if credential.is_anonymous else TOKEN_USER)
    return hashlib.sha256(f"{tenant}\0{who}".encode()).hexdigest()[:32]
