"""The ports that may be connected to."""

from __future__ import annotations

import pytest

from app.outbound.ports import BLOCKED, Ports

# What the standard's table calls them, beginning and end included.
FOR_NO_WEB_CLIENT = {
    0: "-",
    1: "tcpmux",
    21: "ftp",
    22: "ssh",
    23: "telnet",
    25: "smtp",
    53: "domain",
    110: "pop3",
    143: "imap",
    389: "ldap",
    514: "shell",
    587: "submission",
    2049: "nfs",
    4190: "sieve",
    5060: "sip",
    6000: "x11",
    6667: "ircu",
    6679: "osaut",
    6697: "ircs-u",
    10080: "amanda",
}
FOR_ANYBODY = (2, 80, 443, 444, 1024, 5000, 5001, 5432, 6379, 8080, 8443, 9200, 32768, 65535)


@pytest.mark.parametrize("port", FOR_NO_WEB_CLIENT, ids=str)
def test_ports_of_other_protocols_are_blocked_unless_named(port: int) -> None:
    assert not Ports().allow(port)
    assert not Ports(((0, 65535),)).allow(port)
    assert Ports(((443, 443), (port, port))).allow(port)


def test_the_table_has_as_many_ports_as_the_standard() -> None:
    assert len(BLOCKED) == 83


@pytest.mark.parametrize("port", FOR_ANYBODY)
def test_other_ports_are_open_until_the_operator_names_some(port: int) -> None:
    assert Ports().allow(port)
    assert Ports(((port - 1, port),)).allow(port)
    assert Ports(((port, port + 1),)).allow(port)
    assert not Ports(((port + 1, port + 9), (1, 1))).allow(port)
