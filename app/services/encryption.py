"""Encrypts the secrets in the database under the operator's keys."""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
# The prefix of a sealed secret; the id of its key follows. Secrets sealed under a broker's single key have
# neither, and begin with a nonce.
_MARK = b"mbk1"
_ID_BYTES = 8
_HASH_LABEL = b"manifest-broker keyed hash"


class DecryptionFailed(Exception):
    """The secret was encrypted under another key, or for another owner."""


class MissingKey(Exception):
    """The operator has configured no key."""


class SecretBox:
    """AES-256-GCM with a ring of 32-byte keys: the first one encrypts, and all decrypt.

    Without a key every call raises MissingKey. With `names_key`, the key's id is stored with each sealed
    secret. Processes of the previous version can't read such secrets.
    """

    def __init__(self, *keys: bytes | None, names_key: bool = False) -> None:
        self._ciphers = {_id_of(key): AESGCM(key) for key in keys if key is not None}
        self.key_ids = tuple(key_id.hex() for key_id in self._ciphers)
        self._hash_keys = [hmac.digest(key, _HASH_LABEL, "sha256") for key in keys if key is not None] or [
            b""
        ]
        first = next(iter(self._ciphers), b"")
        # The prefix of secrets that the first key can decrypt.
        self.prefix = _MARK + first if names_key else b""

    def encrypt(self, secret: bytes, owner: bytes) -> bytes:
        """Encrypt for one owner: the owner is authenticated with the secret (AEAD)."""
        nonce = os.urandom(_NONCE_BYTES)
        return self.prefix + nonce + self._first().encrypt(nonce, secret, owner)

    def keyed_hashes(self, text: bytes) -> list[bytes]:
        """A hash under each key, the first key first. Without a key, a hash does not reveal the text."""
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
    """An id for a key that reveals nothing about the key."""
    return hashlib.sha256(b"manifest-broker key id" + key).digest()[:_ID_BYTES]
