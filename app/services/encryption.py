"""Encrypts the secrets that the database keeps, under the operator's key."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class DecryptionFailed(Exception):
    """The secret was encrypted under another key, or for another owner."""


class MissingKey(Exception):
    """The operator has configured no key."""


class SecretBox:
    """AES-256-GCM with a key of 32 bytes; without a key every call raises MissingKey."""

    def __init__(self, key: bytes | None) -> None:
        self._cipher = AESGCM(key) if key is not None else None

    def encrypt(self, secret: bytes, owner: bytes) -> bytes:
        """Encrypt for one owner: the owner is authenticated with the secret (AEAD)."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._key().encrypt(nonce, secret, owner)

    def decrypt(self, encrypted: bytes, owner: bytes) -> bytes:
        """The secret that `encrypt` took."""
        try:
            return self._key().decrypt(encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], owner)
        except InvalidTag:
            raise DecryptionFailed from None

    def _key(self) -> AESGCM:
        if self._cipher is None:
            raise MissingKey
        return self._cipher
