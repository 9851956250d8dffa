"""The registry credentials of operations, and how a caller's own are stored until the worker needs them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields
from uuid import UUID

from app.errors import CredentialUnreadable, FieldError, InvalidHeader
from app.logs import redact_with
from app.registry.auth.credentials import Credential
from app.registry.auth.keychain import Keychain
from app.registry.client import Access
from app.services.callers import Call
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
        document = dict(_encoded(place, credential) for place, credential in credentials.items())
        try:
            return self._box.encrypt(json.dumps(document).encode(), owner_of_credential(operation_id))
        except MissingKey:
            detail = (
                "This broker can't store a credential until its worker needs it. Ask its operator to set "
                "BROKER_SECRET_KEY."
            )
            raise InvalidHeader(detail, errors=[FieldError("header:X-Registry-Auth", detail)]) from None

    def identify(self, call: Call) -> list[bytes]:
        """A hash, under each key, of the caller's token and of the credentials that came with the call."""
        given = [_encoded(place or "", credential) for place, credential in call.registry_auth]
        return self._box.keyed_hashes(json.dumps([str(call.token_id), sorted(given, key=str)]).encode())

    def access(self, project_id: UUID, own: Mapping[str, Credential], *, insecure: bool) -> Access:
        """The credentials for one operation: the caller's own come before the operator's."""
        access = Access(self._keychain.with_own(own), insecure=insecure, tenant=str(project_id))
        redact_with(access.used.redact)
        return access

    def decrypt(self, operation_id: UUID, encrypted: bytes | None) -> Mapping[str, Credential]:
        """The credentials that `encrypt` took."""
        if encrypted is None:
            return {}
        try:
            decrypted = self._box.decrypt(encrypted, owner_of_credential(operation_id))
        except MissingKey:
            raise CredentialUnreadable(
                "The broker no longer has a secret key. Send the request again."
            ) from None
        except DecryptionFailed:
            raise CredentialUnreadable(
                "The broker's secret key has changed. Send the request again."
            ) from None
        documents: dict[str, dict[str, str]] = json.loads(decrypted)
        return dict(_decoded(name, document) for name, document in documents.items())


def owner_of_credential(operation_id: UUID) -> bytes:
    """The owner for which an operation's credentials are encrypted."""
    return operation_id.bytes


# A worker of the version before refuses a name or password with line ends or with bytes that are not UTF-8,
# and would fail to read all credentials of the operation. Under this prefix it finds no registry's name.
_AS_BASE64 = "base64:"
_BYTES = "surrogateescape"
_PASSWORD = ("username", "password")


def _encoded(place: str, credential: Credential) -> tuple[str, dict[str, str]]:
    document: dict[str, str] = {field.name: getattr(credential, field.name) for field in fields(credential)}
    if all(
        character >= " " and not _is_byte(character) for name in _PASSWORD for character in document[name]
    ):
        return place, document
    for name in _PASSWORD:
        document[name] = base64.b64encode(document[name].encode(errors=_BYTES)).decode()
    return _AS_BASE64 + place, document


def _is_byte(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _decoded(name: str, document: dict[str, str]) -> tuple[str, Credential]:
    if name.startswith(_AS_BASE64):
        given = {key: base64.b64decode(document[key]).decode(errors=_BYTES) for key in _PASSWORD}
        return name.removeprefix(_AS_BASE64), Credential(**{**document, **given})
    return name, Credential(**document)
