"""The registry credentials of operations, and how a caller's own are stored until the worker needs them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from uuid import UUID

from app.errors import CredentialUnreadable, FieldError, InvalidHeader
from app.registry.auth.credentials import Credential, Keychain
from app.registry.client import Access
from app.services.encryption import DecryptionFailed, MissingKey, SecretBox


class Credentials:
    """The operator's keychain, and the credentials that callers send in X-Registry-Auth.

    Without the operator's secret key callers can't send credentials.
    """

    def __init__(self, keychain: Keychain, box: SecretBox) -> None:
        self._keychain = keychain
        self._box = box

    def encrypt(self, operation_id: UUID, credentials: Mapping[str, Credential]) -> bytes | None:
        """Encrypt credentials for one operation, to be stored with it."""
        if not credentials:
            return None
        document = {host: _document(credential) for host, credential in credentials.items()}
        try:
            return self._box.encrypt(json.dumps(document).encode(), operation_id.bytes)
        except MissingKey:
            detail = (
                "This broker can't store a credential until its worker needs it. Ask its operator to set "
                "BROKER_SECRET_KEY."
            )
            raise InvalidHeader(detail, errors=[FieldError("header:X-Registry-Auth", detail)]) from None

    def access(self, project_id: UUID, own: Mapping[str, Credential], *, insecure: bool) -> Access:
        """The credentials for one operation: the caller's own come before the operator's."""
        keychain = self._keychain
        for host, credential in own.items():
            keychain = keychain.with_credential(host, credential)
        return Access(keychain, insecure=insecure, tenant=str(project_id))

    def decrypt(self, operation_id: UUID, encrypted: bytes | None) -> Mapping[str, Credential]:
        """The credentials that `encrypt` took."""
        if encrypted is None:
            return {}
        try:
            decrypted = self._box.decrypt(encrypted, operation_id.bytes)
        except MissingKey:
            raise CredentialUnreadable(
                "The broker no longer has a secret key. Send the request again."
            ) from None
        except DecryptionFailed:
            raise CredentialUnreadable(
                "The broker's secret key has changed. Send the request again."
            ) from None
        documents: dict[str, dict[str, str]] = json.loads(decrypted)
        return {host: Credential(**document) for host, document in documents.items()}


def _document(credential: Credential) -> dict[str, str]:
    return {field.name: getattr(credential, field.name) for field in fields(credential)}
