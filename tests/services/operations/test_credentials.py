"""The credentials of an operation, stored encrypted."""

from __future__ import annotations

import json
from dataclasses import asdict
from uuid import uuid4

import pytest

from app.registry.auth.credentials import Credential
from app.registry.auth.keychain import Keychain
from app.services.encryption import SecretBox
from app.services.operations.credentials import Credentials

BOX = SecretBox(b"k" * 32)
CREDENTIALS = Credentials(Keychain({"a.test/team": Credential("operator", "x")}), BOX)
OWN = {
    "a.test": Credential("user", "password"),
    "a.test/team": Credential(identity_token="token"),
    "b.test": Credential("_json_key", '{\n  "private_key": "x"\n}\n'),
    "b.test/team": Credential("us\ner", "p\u00e4ss"),
    "c.test": Credential("latin", b"\xe9".decode(errors="surrogateescape")),
    "d.test": Credential(registry_token="token"),
}


def test_credentials_come_back_as_they_were() -> None:
    operation_id = uuid4()
    encrypted = CREDENTIALS.encrypt(operation_id, OWN)
    assert CREDENTIALS.decrypt(operation_id, encrypted) == OWN


def test_the_version_before_reads_what_is_stored() -> None:
    """It refuses all credentials of an operation if one has control characters or can't be encoded."""
    operation_id = uuid4()
    encrypted = CREDENTIALS.encrypt(operation_id, OWN)
    assert encrypted is not None
    documents = json.loads(BOX.decrypt(encrypted, operation_id.bytes))
    for document in documents.values():
        assert set(document) == {"username", "password", "identity_token", "registry_token"}
        said = document["username"] + document["password"]
        said.encode()
        assert ":" not in document["username"]
        assert all(character >= " " for character in said)
    assert documents["a.test"] == asdict(OWN["a.test"])


def test_what_the_version_before_has_stored_is_read() -> None:
    operation_id = uuid4()
    documents = {"a.test": asdict(Credential("user", "password"))}
    encrypted = BOX.encrypt(json.dumps(documents).encode(), operation_id.bytes)
    assert CREDENTIALS.decrypt(operation_id, encrypted) == {"a.test": Credential("user", "password")}


@pytest.mark.parametrize(("path", "name"), [("team/app", "user"), ("other", "user")])
async def test_the_callers_own_come_before_the_operators(path: str, name: str) -> None:
    access = CREDENTIALS.access(uuid4(), {"a.test": OWN["a.test"]}, insecure=False)
    assert (await access.keychain.find("a.test", path)).username == name
