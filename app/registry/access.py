"""As whom, and how guarded, one operation reaches registries."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.registry.credentials import Keychain

__all__ = ["Access"]


@dataclass(frozen=True, slots=True)
class Access:
    """`insecure` asks for unverified TLS or plain HTTP; `tenant` keeps tokens of different callers apart."""

    keychain: Keychain = field(default_factory=Keychain)
    insecure: bool = False
    tenant: str = ""
