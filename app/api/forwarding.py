"""The base URL and the client address from trusted proxies: `Forwarded` (RFC 7239) or `X-Forwarded-*`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

from starlette.datastructures import Headers

_QUOTED = r'"(?:[^"\\]|\\.)*"'
# RFC 7239 §4, but a host may have its port without quotation marks, as many proxies write it.
_PAIR = re.compile(rf"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([^\s;,\"=]+|{_QUOTED})(?=[\s;,]|$)")
_FORWARDED = re.compile(rf"(?:[\s;,]*{_PAIR.pattern})*[\s;,]*")
_ELEMENT = re.compile(rf"(?:[^,\"]|{_QUOTED})+")
_HOST = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_SCHEME = re.compile("https?", re.IGNORECASE)
_NODE = re.compile(r"\[(?P<v6>[^\]]+)\](?::[^:]*)?|(?P<v4>[^:]+)(?::[^:]*)?")
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+;=:@%-]+)+")
_PORT = re.compile(r"[0-9]{1,5}")
_DEFAULT_PORTS = {"http": "80", "https": "443"}

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies whose headers count. None by default: anyone can send such headers."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """From addresses and networks (CIDR)."""
        return cls(tuple(ip_network(text, strict=False) for text in texts))

    def __contains__(self, host: str | None) -> bool:
        if not self.networks or not host:
            return False
        try:
            address: IPv4Address | IPv6Address = ip_address(host)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)

    def count(self, peers: Sequence[str]) -> int:
        """The number of trusted proxies in a chain, of which each but the last named the one before it.

        The connection itself comes from a trusted one.
        """
        found = 1
        for peer in reversed(peers):
            if peer not in self:
                break
            found += 1
        return found


def forwarded_base(headers: Headers, *, peer: str | None, scheme: str, proxies: TrustedProxies) -> str:
    """The base URL that the trusted proxies name, the path of a prefix alone, or an empty text.

    Each proxy of a chain adds its values behind those that it received. Only the values of trusted proxies
    count, and of these the outermost ones, which the caller saw. Without a host, an address stays a path.
    """
    if peer not in proxies:
        return ""
    told = _Forwarded(headers, proxies)
    prefix, host = told.prefix, told.host
    if not host:
        return prefix
    scheme = told.scheme or scheme
    port = f":{told.port}" if told.port and told.port != _DEFAULT_PORTS[scheme] else ""
    return f"{scheme}://{host}{port}{prefix}"


def forwarded_client(headers: Headers, *, peer: str, proxies: TrustedProxies) -> str:
    """The client address from the outermost trusted proxy, or that proxy's own address if it gives none.

    `peer` is a trusted proxy. Elements that the client itself has sent come before the outermost proxy's
    element and are ignored.
    """
    nodes = [_node(each) for each in _nodes(headers)]
    count = proxies.count(nodes)
    named = [peer, *reversed(nodes)][min(count, len(nodes))]
    return named if _is_address(named) else peer


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _nodes(headers: Headers) -> list[str]:
    elements = _parse_forwarded(", ".join(headers.getlist("forwarded")))
    return [each.get("for", "") for each in elements] or _listed(headers, "x-forwarded-for")


class _Forwarded:
    """What the trusted proxies of one request say of the caller's own request."""

    def __init__(self, headers: Headers, proxies: TrustedProxies) -> None:
        elements = _parse_forwarded(", ".join(headers.getlist("forwarded")))
        count = proxies.count([_node(each) for each in _nodes(headers)])

        def told(name: str) -> list[str]:
            if elements:
                return [each[name] for each in elements[-count:] if name in each]
            return _listed(headers, f"x-forwarded-{name}")[-count:]

        self.host = _valid(_HOST, told("host"))
        self.scheme = _valid(_SCHEME, told("proto")).lower()
        names_port = self.host.rpartition(":")[2].isdecimal()
        self.port = "" if elements or names_port else _valid(_PORT, told("port"))
        # Each proxy removes its own prefix, the outermost one first. RFC 7239 has no parameter for prefixes.
        # Some proxies send the prefix without slashes.
        parts = [
            "/" + each.removeprefix("/").rstrip("/")
            for each in _listed(headers, "x-forwarded-prefix")[-count:]
        ]
        self.prefix = "".join(part for part in parts if _PREFIX.fullmatch(part))


def _valid(pattern: re.Pattern[str], values: Sequence[str]) -> str:
    """The value of the outermost proxy; nothing if it has none, or if it is not valid."""
    return values[0] if values and pattern.fullmatch(values[0]) else ""


def _listed(headers: Headers, name: str) -> list[str]:
    """The elements of a list that may be spread over several lines (RFC 9110 §5.3)."""
    parts = (part.strip() for line in headers.getlist(name) for part in line.split(","))
    return [part for part in parts if part]


def _parse_forwarded(text: str) -> list[Mapping[str, str]]:
    """The elements of the header; none if it is not valid, because no part of it is certain then."""
    if not _FORWARDED.fullmatch(text):
        return []
    elements = [dict(_pair(*found) for found in _PAIR.findall(part)) for part in _ELEMENT.findall(text)]
    return [element for element in elements if element]


def _pair(name: str, value: str) -> tuple[str, str]:
    return name.lower(), re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _node(text: str) -> str:
    """The IP address of a node (RFC 7239 §6) without its port."""
    try:
        return str(ip_address(text))
    except ValueError:
        found = _NODE.fullmatch(text)
        return (found["v6"] or found["v4"]) if found else ""
