"""Keeps secrets unreadable in the database: sealed under the operator's key, each for its owner alone."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class BrokenSeal(Exception):
    """Sealed under another key, or for another owner."""


class NoKey(Exception):
    """The operator gave no key."""


class Seal:
    """AES-256-GCM; `key` has 32 bytes, and without one nothing is sealed or opened."""

    def __init__(self, key: bytes | None) -> None:
        self._cipher = AESGCM(key) if key is not None else None

    def close(self, secret: bytes, owner: bytes) -> bytes:
        """Bound to its owner, so that it opens for no other."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._key().encrypt(nonce, secret, owner)

    def open(self, sealed: bytes, owner: bytes) -> bytes:
        """What `close` was given."""
        try:
            return self._key().decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner)
        except InvalidTag:
            raise BrokenSeal from None

    def _key(self) -> AESGCM:
        if self._cipher is None:
            raise NoKey
        return self._cipher
