"""The SCRAM-SHA-256 verifier of a password, so that no SQL statement carries the password."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

ROUNDS = 4_096
SALT_BYTES = 16


def scram_verifier(password: str) -> str:
    """The stored form of RFC 5803, which CREATE ROLE takes in place of a password."""
    salt = os.urandom(SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored_text, server_text = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${ROUNDS}:{salt_text}${stored_text}:{server_text}"
