"""The caller of an operation: credentials, tenant, and whether insecure access is requested."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

from app.oci.reference import Repository
from app.outbound.quoting import Quoting, UsedSecrets
from app.registry.auth.credentials import TOKEN_USER, Credential
from app.registry.auth.keychain import Keychain

__all__ = ["Access", "account_of"]


@dataclass(frozen=True, slots=True)
class Access:
    """`insecure` requests unverified TLS or plain HTTP; `tenant` separates the tokens of callers.

    `used` has the secrets that the requests with this access have carried.
    """

    keychain: Keychain = field(default_factory=Keychain)
    insecure: bool = False
    tenant: str = ""
    used: UsedSecrets = field(default_factory=UsedSecrets, repr=False, compare=False)

    async def credential_at(self, repository: Repository, *, refused: Credential | None = None) -> Credential:
        """The credential for a repository; `refused` is one that the registry has rejected."""
        where = repository.registry, repository.path
        credential = await self.keychain.find(*where, refused=refused)
        place = str(repository)
        if not self.used.knows(place, credential):
            is_own = credential.is_anonymous or self.keychain.has_own(*where)
            self.used.add_credential(place, credential, credential.secrets, is_own=is_own)
        return credential

    async def account_at(self, repository: Repository) -> str:
        """The account under which a registry counts requests to a repository."""
        return account_of(self.tenant, await self.credential_at(repository))

    def quoting_at(self, repository: Repository) -> Quoting:
        """The rules for quoting a registry's responses about a repository."""
        return self.used.at(str(repository))


def account_of(tenant: str, credential: Credential) -> str:
    """An opaque name for an account of one tenant. It begins with the name of the tenant and a dot.

    The name includes the tenant, because anybody who knows a user name can get it refused with a wrong
    password, and that must not close the account for another tenant. All tokens of a tenant are one account
    at a registry.
    """
    who = credential.shown_name or ("" if credential.is_anonymous else TOKEN_USER)
    return ".".join((_hashed(tenant, 16), _hashed(f"{tenant}\0{who}", 32)))


# Each request names the account again; tenants and user names are no secrets.
@lru_cache(maxsize=4096)
def _hashed(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
