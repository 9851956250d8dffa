"""Secrets under the operator's key."""

from __future__ import annotations

import pytest

from app.services.encryption import DecryptionFailed, MissingKey, SecretBox

KEY = b"k" * 32


def test_a_secret_is_encrypted_differently_each_time_and_decrypted_for_its_owner_only() -> None:
    box = SecretBox(KEY)
    first, second = (box.encrypt(b"secret", b"owner") for _ in range(2))
    assert first != second
    assert box.decrypt(first, b"owner") == box.decrypt(second, b"owner") == b"secret"
    broken = first[:-1] + bytes([first[-1] ^ 1])
    for encrypted, owner in ((first, b"stranger"), (broken, b"owner")):
        with pytest.raises(DecryptionFailed):
            box.decrypt(encrypted, owner)
    with pytest.raises(MissingKey):
        SecretBox(None).decrypt(first, b"owner")
