"""Credentials, whose secrets show nowhere."""

from __future__ import annotations

import pytest

from app.registry.client import Access, Credential, Keychain

CANARY = "canary-5ecret"


@pytest.mark.parametrize(
    "credential",
    [
        Credential("user", CANARY),
        Credential(identity_token=CANARY),
        Credential(registry_token=CANARY),
    ],
)
def test_a_secret_never_renders(credential: Credential) -> None:
    keychain = Keychain({"reg.test": credential})
    for shown in (repr(credential), str(credential), f"{credential}", repr(keychain), repr(Access(keychain))):
        assert CANARY not in shown


def test_a_credential_is_of_one_kind() -> None:
    with pytest.raises(ValueError, match="one of"):
        Credential("user", "password", identity_token="token")
    with pytest.raises(ValueError, match="colon"):
        Credential("a:b", "c")
    with pytest.raises(ValueError, match="visible"):
        Credential(registry_token="b\r\nHost: evil")
    with pytest.raises(ValueError, match="Unicode"):
        Credential("a", "\ud800")
    assert Credential().is_anonymous


def test_basic_carries_lines_without_ending_the_header() -> None:
    basic = Credential("a\nb", "c\r\nHost: evil\0").basic
    assert basic is not None
    assert basic.isprintable()
