"""Tells public addresses, by its own table: `ipaddress.is_global` passes wrapped loopback addresses."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["Address", "Network", "is_loopback", "parse_literal", "unwrap", "why_not_public"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA's special-purpose registries, and the two addresses at which clouds answer their tenants outside them.
_NOT_PUBLIC_V4 = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's own service"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "reserved for name service"),
        ("192.52.193.0/24", "reserved for relays"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved for name service"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_NOT_PUBLIC_V6 = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b:1::/48", "translated locally"),
        ("100::/64", "discarded"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "documentation"),
        ("2620:4f:8000::/48", "reserved for name service"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_COMPATIBLE = IPv6Network("::/96")
_LOW_32 = 0xFFFF_FFFF
# RFC 5214, section 6.1: the interface identifier of ISATAP, with and without the universal bit.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


@lru_cache(maxsize=1024)
def parse_literal(host: str) -> Address | None:
    """The address that a host is, if it is one; brackets and a scope may be there."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def is_loopback(address: Address) -> bool:
    """Whether packets to the address stay on the machine, also when written as mapped IPv4."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def unwrap(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to: mapped, compatible, NAT64, 6to4 or ISATAP."""
    number = int(address)
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _SIX_TO_FOUR:
        return IPv4Address(number >> 80 & _LOW_32)
    if address in _NAT64 or number >> 32 & _LOW_32 in _ISATAP:
        return IPv4Address(number & _LOW_32)
    if address in _COMPATIBLE and number > 1:
        return IPv4Address(number & _LOW_32)
    return None


def why_not_public(address: Address) -> str | None:
    """The reason why an address is not on the public internet; None for one that is."""
    if isinstance(address, IPv4Address):
        return next((reason for network, reason in _NOT_PUBLIC_V4 if address in network), None)
    inner = unwrap(address)
    if inner is not None:
        return why_not_public(inner)
    reason = next((reason for network, reason in _NOT_PUBLIC_V6 if address in network), None)
    if reason is None and address not in _GLOBAL_UNICAST:
        return "not global unicast"
    return reason
