"""The operator's policy for outgoing connections."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from app import errors
from app.outbound.policy import AccessPolicy

STRICT = AccessPolicy()
LOOPBACK = AccessPolicy.parse(allow_loopback=True)


@pytest.mark.parametrize("text", ["127.0.0.1", "10.0.0.1", "::1", "169.254.169.254", "64:ff9b::7f00:1"])
def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    with pytest.raises(errors.RegistryForbidden):
        STRICT.check_address(ip_address(text))


def test_allowed_networks_may_be_reached_and_no_others() -> None:
    policy = AccessPolicy.parse(allowed_networks=["10.1.0.0/16", "fd00:1::/32"])
    for text in ("10.1.2.3", "fd00:1::5", "::ffff:10.1.2.3", "8.8.8.8"):
        policy.check_address(ip_address(text))
    for text in ("10.2.0.1", "127.0.0.1", "fd00:2::1", "64:ff9b::10.1.2.3"):
        with pytest.raises(errors.RegistryForbidden):
            policy.check_address(ip_address(text))


def test_allowing_loopback_allows_nothing_else_that_is_private() -> None:
    for text in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        LOOPBACK.check_address(ip_address(text))
    for text in ("10.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::", "169.254.169.254"):
        with pytest.raises(errors.RegistryForbidden):
            LOOPBACK.check_address(ip_address(text))


@pytest.mark.parametrize(
    "host",
    ["127.1", "127.1:5000", "0x7f000001:80", "2130706433", "1.2.3.0x4", "10.0.1", "0177.0.0.1", "1.2.3.4.5"],
)
def test_numbers_that_resolvers_take_for_addresses_are_refused(host: str) -> None:
    with pytest.raises(errors.RegistryForbidden):
        LOOPBACK.check_host(host)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:5000", "[::1]:5000", "10.0.0.1:443", "[::ffff:a00:1]"]
)
def test_literal_hosts_are_checked_as_the_addresses_that_they_are(host: str) -> None:
    with pytest.raises(errors.RegistryForbidden):
        STRICT.check_host(host)


@pytest.mark.parametrize(
    "host", ["registry.example.com", "r2.example.com:5000", "8.8.8.8", "host0x1.example"]
)
def test_names_and_public_literals_pass(host: str) -> None:
    # Passes if nothing raises.
    STRICT.check_host(host)


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("lab.example.com", "lab.example.com", True),
        ("lab.example.com", "LAB.example.com:5000", True),
        ("lab.example.com:5000", "lab.example.com:5000", True),
        ("lab.example.com:5000", "lab.example.com", False),
        ("lab.example.com:5000", "lab.example.com:5001", False),
        ("lab.example.com", "evil-lab.example.com", False),
        ("lab.example.com", "lab.example.com.evil.test", False),
        ("*.lab.example.com", "a.lab.example.com:5000", True),
        ("*.lab.example.com", "lab.example.com", False),
        ("*.lab.example.com", "evillab.example.com", False),
        ("*.lab.example.com:5000", "a.lab.example.com:5001", False),
        ("10.1.0.0/16", "10.1.2.3:5000", True),
        ("10.1.0.0/16", "10.2.2.3", False),
        ("10.1.0.0/16", "lab.example.com", False),
        ("fd00::/8", "[fd00::1]:5000", True),
        ("10.1.2.3:5000", "10.1.2.3:5000", True),
    ],
)
def test_insecure_hosts_are_matched_exactly(pattern: str, host: str, allowed: bool) -> None:
    policy = AccessPolicy.parse(insecure_hosts=[pattern])
    assert policy.may_be_insecure(host) is allowed


def test_loopback_hosts_may_be_insecure_only_in_the_embedded_mode() -> None:
    for host in ("127.0.0.1:5000", "localhost:5000", "[::1]:5000", "Localhost"):
        assert LOOPBACK.may_be_insecure(host)
        assert not STRICT.may_be_insecure(host)
    assert not LOOPBACK.may_be_insecure("localhost.example.com")
    assert not LOOPBACK.may_be_insecure("10.0.0.1")


def test_a_refusal_names_the_operators_setting() -> None:
    policy = AccessPolicy.parse(setting_names={"ports": "THE_PORTS", "allowed_networks": "THE_NETWORKS"})
    with pytest.raises(errors.RegistryForbidden, match=r"first \(THE_PORTS\)\.$"):
        policy.check_port(25, peer="mail.test")
    with pytest.raises(errors.RegistryForbidden, match=r"first \(THE_NETWORKS\)\.$"):
        policy.check_address(ip_address("10.0.0.1"))
