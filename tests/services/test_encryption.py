"""Secrets under the operator's key."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

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


OLD, NEW = b"o" * 32, b"n" * 32


def test_the_first_key_of_a_ring_encrypts_and_all_of_them_decrypt() -> None:
    before, named = SecretBox(OLD), SecretBox(OLD, names_key=True)
    ring = SecretBox(NEW, OLD, names_key=True)
    sealed = ring.encrypt(b"secret", b"owner")
    assert sealed.startswith(ring.prefix)
    for box in (ring, SecretBox(OLD, NEW, names_key=True), SecretBox(NEW), SecretBox(NEW, names_key=True)):
        assert box.decrypt(sealed, b"owner") == b"secret"
    for old in (before.encrypt(b"older", b"owner"), named.encrypt(b"older", b"owner")):
        assert ring.decrypt(old, b"owner") == b"older"
        with pytest.raises(DecryptionFailed):
            SecretBox(NEW, names_key=True).decrypt(old, b"owner")


def test_a_single_key_encrypts_as_the_version_before_can_read() -> None:
    sealed = SecretBox(OLD).encrypt(b"secret", b"owner")
    assert AESGCM(OLD).decrypt(sealed[:12], sealed[12:], b"owner") == b"secret"


def test_the_id_of_a_key_is_the_same_in_every_process_and_is_no_part_of_the_key() -> None:
    first, second = SecretBox(NEW, OLD).key_ids
    assert SecretBox(OLD).key_ids == (second,) != (first,)
    assert NEW.hex()[:8] not in first
