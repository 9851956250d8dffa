"""As whom, and how guarded, one operation reaches registries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from app.registry.auth.credentials import TOKEN_USER, Credential, Keychain

__all__ = ["Access", "account_of"]


@dataclass(frozen=True, slots=True)
class Access:
    """`insecure` asks for unverified TLS or plain HTTP; `tenant` keeps tokens of different callers apart."""

    keychain: Keychain = field(default_factory=Keychain)
    insecure: bool = False
    tenant: str = ""

    async def account_at(self, registry: str) -> str:
        """Whose requests a registry counts as those of one."""
        return account_of(self.tenant, await self.keychain.find(registry))


def account_of(tenant: str, credential: Credential) -> str:
    """A name for an account as one tenant knows it, from which nobody learns what that is.

    Who knows a user's name can be refused in it, with a wrong password, and so must not close it to another
    tenant. Of tokens a tenant has one account at a registry.
    """
    who = credential.username or ("" if credential.is_anonymous else TOKEN_USER)
    return hashlib.sha256(f"{tenant}\0{who}".encode()).hexdigest()[:32]
