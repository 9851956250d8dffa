"""Which addresses count as public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.addresses import is_loopback, parse_literal, why_not_public

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "52.216.0.1",
    "99.255.255.255",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "168.63.129.15",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2a00:1450:4001:81b::200e",
    "2400:cb00::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]
NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::127.0.0.1",
    "::10.1.2.3",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b::100.64.0.1",
    "64:ff9b:1::1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::",
    "2002:a9fe:a9fe::",
    "2002:c0a8:1::1",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:127.0.0.1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "8000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_may_be_reached(text: str) -> None:
    assert why_not_public(ip_address(text)) is None


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_other_addresses_may_not_however_they_are_wrapped(text: str) -> None:
    assert why_not_public(ip_address(text))


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_wrapping_never_makes_an_address_public(inner: IPv4Address) -> None:
    number = int(inner)
    wrapped = [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0x64_FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
    ]
    for address in wrapped:
        assert (why_not_public(address) is None) == (why_not_public(inner) is None), address


@given(st.ip_addresses(v=4))
def test_an_address_that_is_private_to_the_standard_library_is_never_public(address: IPv4Address) -> None:
    if not address.is_global:
        assert why_not_public(address)


@pytest.mark.parametrize("text", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_known_in_all_its_forms(text: str) -> None:
    assert is_loopback(ip_address(text))


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "localhost", "\uff1127.0.0.1"]
)
def test_only_usual_forms_are_literals(host: str) -> None:
    assert parse_literal(host) is None


def test_brackets_belong_to_literals_of_ipv6() -> None:
    assert parse_literal("[::1]") == IPv6Address("::1")
