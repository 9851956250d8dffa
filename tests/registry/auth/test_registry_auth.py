"""The header X-Registry-Auth."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors
from app.registry.auth.registry_auth import parse_registry_auths
from app.registry.client import ANONYMOUS, Credential, parse_registry_auth

CANARY = "canary-5ecret"


def encode(document: object, *, urlsafe: bool = True, padded: bool = True) -> str:
    raw = json.dumps(document).encode()
    text = (base64.urlsafe_b64encode(raw) if urlsafe else base64.b64encode(raw)).decode()
    return text if padded else text.rstrip("=")


def entry(place: str | None, name: str = "user") -> str:
    address = {} if place is None else {"serveraddress": place}
    return encode({"username": name, "password": CANARY, **address})


@pytest.mark.parametrize("urlsafe", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_the_header_is_read_in_every_base64(urlsafe: bool, padded: bool) -> None:
    document = {"username": "üser?>", "password": CANARY, "serveraddress": "https://Reg.test:5000/v2/"}
    header = encode(document, urlsafe=urlsafe, padded=padded)
    assert parse_registry_auth(header) == ("reg.test:5000", Credential("üser?>", CANARY))


def test_the_header_may_hold_tokens_or_nothing() -> None:
    assert parse_registry_auth(encode({"identitytoken": "i"})) == (None, Credential(identity_token="i"))
    assert parse_registry_auth(encode({"registrytoken": "r"})) == (None, Credential(registry_token="r"))
    assert parse_registry_auth(encode({})) == (None, ANONYMOUS)
    assert parse_registry_auth(encode({"username": "u", "password": "p", "identitytoken": "i"})) == (
        None,
        Credential(identity_token="i"),
    )


@pytest.mark.parametrize(
    "header",
    [
        "!!!",
        "e30=e30=",
        encode([]),
        encode("text"),
        encode({"username": 5}),
        encode({"username": "a:b", "password": CANARY}),
        encode({"registrytoken": "x\r\nHost: evil"}),
        encode({"username": "\ud800", "password": CANARY}),
        encode({"username": "a", "password": CANARY, "serveraddress": "https://a.test/Some/Path"}),
        encode({"username": "a", "password": CANARY, "serveraddress": "https://a.test/../b"}),
        encode({"username": "a", "password": CANARY, "serveraddress": "user@a.test"}),
        base64.b64encode(b"{" + CANARY.encode()).decode(),
        base64.b64encode(b"[" * 20000).decode(),
        "A" * 100_000,
    ],
)
def test_a_bad_header_is_refused_by_name_and_never_quoted(header: str) -> None:
    with pytest.raises(errors.InvalidHeader) as caught:
        parse_registry_auth(header)
    assert caught.value.errors[0].pointer == "header:X-Registry-Auth"
    assert CANARY not in str(caught.value.document())


@given(st.text(max_size=200))
def test_any_header_is_read_or_refused(header: str) -> None:
    read = None
    with contextlib.suppress(errors.InvalidHeader):
        read = parse_registry_auth(header)
    assert read is None or isinstance(read[1], Credential)


def test_several_credentials_are_for_a_place_each() -> None:
    values = [entry("a.test", "one"), entry("https://A.test/team/", "two"), entry(None, "three")]
    assert parse_registry_auths(values) == (
        ("a.test", Credential("one", CANARY)),
        ("a.test/team", Credential("two", CANARY)),
        (None, Credential("three", CANARY)),
    )


def test_a_proxy_may_join_several_credentials_with_commas() -> None:
    values = [entry("a.test", "one"), entry("b.test", "two"), entry("c.test", "three")]
    assert parse_registry_auths([f"{values[0]} , {values[1]},", values[2]]) == parse_registry_auths(values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([entry("a.test"), entry("https://A.test/v2/")], "Several of its credentials are for a.test"),
        ([entry("a.test/team"), entry("a.test/team/")], "Several of its credentials are for a.test/team"),
        ([entry(None), entry("a.test"), entry(None)], "Several of its credentials have no serveraddress"),
        ([entry(f"r{number}.test") for number in range(17)], "more than 16"),
        ([entry("a.test"), entry("b.test/Team")], "Credential 2 of 2: Its serveraddress"),
        ([entry("a.test"), "!!!", entry("b.test")], "Credential 2 of 3: It is not the base64 form"),
        ([], "base64 form"),
        ([" , "], "base64 form"),
    ],
)
def test_bad_credentials_among_several_are_named(values: list[str], reason: str) -> None:
    with pytest.raises(errors.InvalidHeader, match=reason) as caught:
        parse_registry_auths(values)
    assert caught.value.errors[0].pointer == "header:X-Registry-Auth"
    assert CANARY not in str(caught.value.document())


def test_one_error_names_every_credential_that_can_not_be_used() -> None:
    values = ["!!!", entry("a.test"), f"W10=, {entry('a.test/Team')}", entry("a.test"), entry("b.test")]
    with pytest.raises(errors.InvalidHeader) as caught:
        parse_registry_auths(values)
    assert [each.detail.partition(":")[0] for each in caught.value.errors] == [
        "Credential 1 of 6",
        "Credential 3 of 6",
        "Credential 4 of 6",
        "Several of its credentials are for a.test.",
    ]
    assert {each.pointer for each in caught.value.errors} == {"header:X-Registry-Auth"}
    assert CANARY not in str(caught.value.document())


@pytest.mark.parametrize("password", ["a\nb", "a\r\n\tb", '{\n  "type": "service_account"\n}\n', "\x00\x7fé"])
def test_a_password_may_hold_whatever_basic_can_carry(password: str) -> None:
    plain = encode({"username": "_json_key", "password": password})
    joined = encode({"auth": base64.b64encode(f"_json_key:{password}".encode()).decode()})
    assert parse_registry_auth(plain) == (None, Credential("_json_key", password))
    assert parse_registry_auth(joined) == (None, Credential("_json_key", password))


@pytest.mark.parametrize("urlsafe", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_the_auth_member_is_read_in_every_base64(urlsafe: bool, padded: bool) -> None:
    encode_pair = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    for pair in (b"user:pass", b"user:pass?>", b"user:pas\xff\xfe\xfb", b"user:"):
        auth = encode_pair(pair).decode()
        given = encode({"auth": auth if padded else auth.rstrip("=")})
        name, _, password = pair.decode(errors="surrogateescape").partition(":")
        assert parse_registry_auth(given) == (None, Credential(name, password))


@pytest.mark.parametrize(
    "auth", ["dXNlcg==", "dXNlcjpwYXNz!", "dXNlcjpwYXNz====x", "a", "é", "dXNl cjpwYXNz:"]
)
def test_an_auth_member_that_is_not_base64_of_a_pair_is_refused(auth: str) -> None:
    with pytest.raises(errors.InvalidHeader, match="not the base64 form of name:password"):
        parse_registry_auth(encode({"auth": auth}))
