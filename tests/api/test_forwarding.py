"""The base URL comes from trusted proxies alone, and of these from the outermost one."""

from __future__ import annotations

import time

import pytest
from starlette.datastructures import Headers

from app.api.forwarding import TrustedProxies, forwarded_base, forwarded_client

PROXIES = TrustedProxies.parse(["10.0.0.0/8", "2001:db8::1"])
BASE = "https://portal.example/broker"


def base(*headers: tuple[str, str], peer: str | None = "10.0.0.1") -> str:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return forwarded_base(Headers(raw=raw), peer=peer, scheme="http", proxies=PROXIES)


def x(**values: str) -> list[tuple[str, str]]:
    return [(f"X-Forwarded-{name}", value) for name, value in values.items()]


GIVEN = x(Host="portal.example", Proto="https", Prefix="/broker")


@pytest.mark.parametrize("peer", ["10.0.0.1", "10.255.255.255", "::ffff:10.0.0.1", "2001:db8::1"])
def test_a_trusted_proxy_names_the_base(peer: str) -> None:
    assert base(*GIVEN, peer=peer) == BASE


@pytest.mark.parametrize("peer", [None, "", "11.0.0.1", "127.0.0.1", "::1", "2001:db8::2", "unix", "10.0.0"])
def test_the_headers_of_anyone_else_change_nothing(peer: str | None) -> None:
    assert base(*GIVEN, peer=peer) == ""
    assert base(("Forwarded", "host=portal.example;proto=https"), peer=peer) == ""


def test_nobody_is_trusted_by_default() -> None:
    headers = Headers(dict(GIVEN))
    assert forwarded_base(headers, peer="10.0.0.1", scheme="http", proxies=TrustedProxies()) == ""


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], ""),
        (x(Proto="https"), ""),
        (x(Prefix="/broker"), "/broker"),
        (x(Prefix="/broker/"), "/broker"),
        (x(Prefix="broker"), "/broker"),
        (x(Prefix="a/b/"), "/a/b"),
        (x(Prefix="/"), ""),
        (x(Prefix="/a/b.c/~d"), "/a/b.c/~d"),
        (x(Proto="https", Prefix="/broker"), "/broker"),
        (x(Host="portal.example"), "http://portal.example"),
        (x(Host="portal.example", Proto="HTTPS"), "https://portal.example"),
        (x(Host="portal.example:8443", Proto="https"), "https://portal.example:8443"),
        (x(Host="portal.example", Proto="https", Port="8443"), "https://portal.example:8443"),
        (x(Host="portal.example", Proto="https", Port="443"), "https://portal.example"),
        (x(Host="portal.example:8443", Proto="https", Port="9443"), "https://portal.example:8443"),
        (x(Host="[2001:db8::5]", Proto="https", Port="8443"), "https://[2001:db8::5]:8443"),
        (x(Host="[2001:db8::5]:8443", Proto="https"), "https://[2001:db8::5]:8443"),
    ],
)
def test_the_base_has_the_parts_that_are_named(headers: list[tuple[str, str]], expected: str) -> None:
    assert base(*headers) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("host=portal.example;proto=https", "https://portal.example"),
        ('for=192.0.2.1;Host="portal.example:8443";PROTO=https', "https://portal.example:8443"),
        ("host=portal.example:8443;proto=https", "https://portal.example:8443"),
        ('host="\\portal.example"', "http://portal.example"),
        ("for=192.0.2.1;by=10.0.0.1", ""),
        ("host=portal.example,", "http://portal.example"),
        ("host=portal.example; proto=", ""),
        ('host="portal.example', ""),
        ("host = portal.example", ""),
        ("portal.example", ""),
    ],
)
def test_forwarded_is_read_as_in_rfc_7239(value: str, expected: str) -> None:
    assert base(("Forwarded", value)) == expected


def test_forwarded_goes_before_x_forwarded_and_has_its_prefix_beside_it() -> None:
    forwarded = ("Forwarded", "host=portal.example;proto=https")
    assert base(forwarded, *x(Host="other.example", Proto="http", Prefix="/broker")) == BASE


@pytest.mark.parametrize(
    "header",
    [
        ("X-Forwarded-Host", 'evil"><script>'),
        ("X-Forwarded-Host", "user@evil.example"),
        ("X-Forwarded-Host", "evil.example/path"),
        ("X-Forwarded-Host", "evil.example:port"),
        ("X-Forwarded-Prefix", "//evil.example"),
        ("X-Forwarded-Prefix", "/a/../b"),
        ("X-Forwarded-Prefix", "/a>b"),
        ("X-Forwarded-Prefix", "broker//x"),
        ("X-Forwarded-Prefix", ".."),
        ("X-Forwarded-Prefix", "/a?b"),
        ("Forwarded", 'host="evil.example/path"'),
    ],
)
def test_a_value_that_is_no_part_of_a_url_counts_for_nothing(header: tuple[str, str]) -> None:
    assert base(header) == ""


def test_a_scheme_or_port_that_is_not_valid_is_passed_over() -> None:
    assert base(*x(Host="portal.example", Proto="javascript", Port="x")) == "http://portal.example"


def test_in_a_chain_the_outermost_trusted_proxy_counts() -> None:
    chain = x(For="192.0.2.1, 10.0.0.9", Host="portal.example, inner", Proto="https, http")
    assert base(*chain) == "https://portal.example"
    assert base(*x(For="192.0.2.1, 10.0.0.9", Prefix="/outer, /inner")) == "/outer/inner"
    elements = ["for=192.0.2.1;host=portal.example;proto=https", "for=10.0.0.9;host=inner;proto=http"]
    assert base(("Forwarded", ", ".join(elements))) == "https://portal.example"
    assert base(*(("Forwarded", element) for element in elements)) == "https://portal.example"


def test_what_a_caller_sent_before_its_proxy_added_to_it_counts_for_nothing() -> None:
    spoofed = x(For="10.0.0.7, 192.0.2.1", Host="evil.example, portal.example", Prefix="/evil, /broker")
    assert base(*spoofed) == "http://portal.example/broker"
    element = "host=evil.example;for=10.0.0.7, for=192.0.2.1;host=portal.example"
    assert base(("Forwarded", element)) == "http://portal.example"
    ports = '"[2001:db8::1]:4711"', "10.0.0.9:80", "_hidden", "unknown"
    assert [base(("Forwarded", f"host=evil, host=a;for={node}")) for node in ports] == [
        "http://evil",
        "http://evil",
        "http://a",
        "http://a",
    ]


@pytest.mark.parametrize("text", ["a=" * 20_000, 'a="' + "\\" * 40_000, "a=b" * 15_000, ";," * 20_000])
def test_a_long_header_is_read_quickly(text: str) -> None:
    started = time.perf_counter()
    assert base(("Forwarded", text)) == ""
    assert time.perf_counter() - started < 2


# --- the caller ---


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], "10.0.0.1"),
        ([("X-Forwarded-For", "192.0.2.1")], "192.0.2.1"),
        ([("X-Forwarded-For", "192.0.2.1:4711")], "192.0.2.1"),
        ([("X-Forwarded-For", "1.1.1.1, 192.0.2.1")], "192.0.2.1"),
        ([("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "192.0.2.1, 10.0.0.2")], "192.0.2.1"),
        ([("X-Forwarded-For", "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
        ([("X-Forwarded-For", "1.1.1.1, unknown")], "10.0.0.1"),
        ([("X-Forwarded-For", "1.1.1.1, _hidden, 10.0.0.2")], "10.0.0.1"),
        ([("Forwarded", 'for="[2001:db8::2]:80"')], "2001:db8::2"),
        ([("Forwarded", "for=1.1.1.1, for=192.0.2.1;proto=https")], "192.0.2.1"),
        ([("Forwarded", "for=192.0.2.1, for=10.0.0.2"), ("X-Forwarded-For", "1.1.1.1")], "192.0.2.1"),
        ([("Forwarded", "for=192.0.2.1, ;;nonsense=="), ("X-Forwarded-For", "192.0.2.2")], "192.0.2.2"),
    ],
)
def test_the_caller_is_the_one_that_the_outermost_trusted_proxy_names(
    headers: list[tuple[str, str]], expected: str
) -> None:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    assert forwarded_client(Headers(raw=raw), peer="10.0.0.1", proxies=PROXIES) == expected
