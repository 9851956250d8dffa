"""Encrypts the secrets that the database keeps, under the operator's keys."""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
# Before the id of a key, at the beginning of a sealed secret. What was sealed under the only key of a broker
# has neither; it begins with a nonce.
_MARK = b"mbk1"
_ID_BYTES = 8
_HASH_LABEL = b"manifest-broker keyed hash"


class DecryptionFailed(Exception):
    """The secret was encrypted under another key, or for another owner."""


class MissingKey(Exception):
    """The operator has configured no key."""


class SecretBox:
    """AES-256-GCM with a ring of keys of 32 bytes: the first one encrypts, and all decrypt.

    Without a key every call raises MissingKey. With `names_key`, the id of the key is stored beside what it
    encrypts; processes of the version before can't read that.
    """

    def __init__(self, *keys: bytes | None, names_key: bool = False) -> None:
        self._ciphers = {_id_of(key): AESGCM(key) for key in keys if key is not None}
        self.key_ids = tuple(key_id.hex() for key_id in self._ciphers)
        self._hash_keys = [hmac.digest(key, _HASH_LABEL, "sha256") for key in keys if key is not None] or [
            b""
        ]
        first = next(iter(self._ciphers), b"")
        # How a secret begins that needs no other key than the first one.
        self.prefix = _MARK + first if names_key else b""

    def encrypt(self, secret: bytes, owner: bytes) -> bytes:
        """Encrypt for one owner: the owner is authenticated with the secret (AEAD)."""
        nonce = os.urandom(_NONCE_BYTES)
        return self.prefix + nonce + self._first().encrypt(nonce, secret, owner)

    def keyed_hashes(self, text: bytes) -> list[bytes]:
        """A hash under each key, the first one first; nobody without the key can guess the text from it."""
        return [hmac.digest(key, text, "sha256") for key in self._hash_keys]

    def decrypt(self, encrypted: bytes, owner: bytes) -> bytes:
        """The secret that `encrypt` took."""
        self._first()
        sealed = encrypted.removeprefix(_MARK)
        named = self._ciphers.get(sealed[:_ID_BYTES]) if sealed != encrypted else None
        if named is not None and (secret := _open(named, sealed[_ID_BYTES:], owner)) is not None:
            return secret
        for cipher in self._ciphers.values():
            if (secret := _open(cipher, encrypted, owner)) is not None:
                return secret
        raise DecryptionFailed

    def _first(self) -> AESGCM:
        for cipher in self._ciphers.values():
            return cipher
        raise MissingKey


def _open(cipher: AESGCM, sealed: bytes, owner: bytes) -> bytes | None:
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner)
    except InvalidTag:
        return None


def _id_of(key: bytes) -> bytes:
    """Names a key without giving anything of it away."""
    return hashlib.sha256(b"manifest-broker key id" + key).digest()[:_ID_BYTES]
