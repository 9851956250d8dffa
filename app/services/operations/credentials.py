"""Which credentials an operation may use, and how a caller's own wait for the worker unreadably."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from uuid import UUID

from app.errors import CredentialUnreadable, FieldError, InvalidHeader
from app.registry.auth.credentials import Credential, Keychain
from app.registry.client import Access
from app.services.encryption import BrokenSeal, NoKey, Seal


class Credentials:
    """The operator's keychain, and the seal for what callers bring in X-Registry-Auth.

    Without the operator's key callers can't bring credentials.
    """

    def __init__(self, keychain: Keychain, seal: Seal) -> None:
        self._keychain = keychain
        self._seal = seal

    def seal(self, operation_id: UUID, credentials: Mapping[str, Credential]) -> bytes | None:
        """What is stored with the operation; bound to it, so that it opens for no other."""
        if not credentials:
            return None
        document = {host: _document(credential) for host, credential in credentials.items()}
        try:
            return self._seal.close(json.dumps(document).encode(), operation_id.bytes)
        except NoKey:
            detail = (
                "This broker can't keep a caller's credential until its worker needs it: its operator has "
                "to set BROKER_SECRET_KEY"
            )
            raise InvalidHeader(detail, errors=[FieldError("header:X-Registry-Auth", detail)]) from None

    def access(self, project_id: UUID, own: Mapping[str, Credential], *, insecure: bool) -> Access:
        """What the registry client may use for one operation: the caller's own before the operator's."""
        keychain = self._keychain
        for host, credential in own.items():
            keychain = keychain.with_credential(host, credential)
        return Access(keychain, insecure=insecure, tenant=str(project_id))

    def open(self, operation_id: UUID, sealed: bytes | None) -> Mapping[str, Credential]:
        """What `seal` was given."""
        if sealed is None:
            return {}
        try:
            opened = self._seal.open(sealed, operation_id.bytes)
        except NoKey:
            raise CredentialUnreadable(
                "The broker has no secret key any more; send the request again"
            ) from None
        except BrokenSeal:
            raise CredentialUnreadable(
                "The broker's secret key has changed; send the request again"
            ) from None
        documents: dict[str, dict[str, str]] = json.loads(opened)
        return {host: Credential(**document) for host, document in documents.items()}


def _document(credential: Credential) -> dict[str, str]:
    return {field.name: getattr(credential, field.name) for field in fields(credential)}
