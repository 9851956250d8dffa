"""The operator's policy for outgoing connections: addresses, ports, and hosts that need no verified TLS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_network
from typing import TypedDict

from app import errors
from app.outbound import addresses
from app.outbound.addresses import Address, Network
from app.outbound.ports import Ports
from app.outbound.url import split_host

__all__ = ["AccessPolicy", "PolicyTexts", "is_loopback_host", "matches_host"]


class PolicyTexts(TypedDict, total=False):
    """A policy as the operator writes it."""

    allowed_networks: Iterable[str]
    insecure_hosts: Iterable[str]
    ports: Iterable[tuple[int, int]]
    allow_loopback: bool
    shows_failures: bool
    setting_names: Mapping[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """Public addresses over verified TLS are always allowed; everything else is named here.

    `allowed_networks` may be reached although they are not public. `insecure_hosts` are host patterns (see
    `matches_host`). `ports` are the ports that connections may use. Unless `shows_failures` is set, callers
    get one error for every reason for an unreachable host. `setting_names` maps a field to the name of the
    operator's setting, for error texts.
    """

    allowed_networks: tuple[Network, ...] = ()
    insecure_hosts: tuple[str, ...] = ()
    ports: Ports = field(default_factory=Ports)
    allow_loopback: bool = False
    shows_failures: bool = True
    setting_names: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def parse(
        *,
        allowed_networks: Iterable[str] = (),
        insecure_hosts: Iterable[str] = (),
        ports: Iterable[tuple[int, int]] = (),
        allow_loopback: bool = False,
        shows_failures: bool = True,
        setting_names: Mapping[str, str] | None = None,
    ) -> AccessPolicy:
        """Parse the operator's texts; raise ValueError for a text that is not a network."""
        return AccessPolicy(
            allowed_networks=tuple(ip_network(text, strict=False) for text in allowed_networks),
            insecure_hosts=tuple(pattern.strip().lower() for pattern in insecure_hosts),
            ports=Ports(tuple(ports)),
            allow_loopback=allow_loopback,
            shows_failures=shows_failures,
            setting_names=setting_names or {},
        )

    def setting(self, name: str) -> str:
        """The name of the operator's setting for a field, in parentheses, for an error text."""
        return f" ({self.setting_names[name]})" if name in self.setting_names else ""

    def check_port(self, port: int, *, peer: str) -> None:
        """Refuse a port that no web client may speak to, or that the operator does not allow."""
        if not self.ports.allow(port):
            raise errors.RegistryForbidden(
                f"{peer} leads to port {port}, which the broker may not connect to. "
                f"The operator must allow the port first{self.setting('ports')}.",
                registry=peer,
            )

    def check_address(self, address: Address, *, peer: str = "") -> None:
        """Refuse an address that is neither public nor allowed."""
        if self._is_allowed(address):
            return
        reason = addresses.why_not_public(address)
        if reason is None:
            return
        name = peer or str(address)
        raise errors.RegistryForbidden(
            f"{name} has an address that is not public ({reason}). "
            f"The operator must allow its network first{self.setting('allowed_networks')}.",
            registry=peer or None,
        )

    def check_host(self, host: str, *, peer: str = "") -> None:
        """Refuse a host that is itself a forbidden address, or a number that resolvers take for one."""
        name, _ = split_host(host)
        literal = addresses.parse_literal(name)
        if literal is not None:
            self.check_address(literal, peer=peer or host)
        elif _ends_in_a_number(name):
            raise errors.RegistryForbidden(
                f"{peer or host} is neither a name nor an address in its usual form.",
                registry=peer or host,
            )

    def may_be_insecure(self, host: str) -> bool:
        """Whether a caller may ask for unverified TLS and plain HTTP with this host."""
        if self.allow_loopback and is_loopback_host(host):
            return True
        return any(matches_host(pattern, host.lower()) for pattern in self.insecure_hosts)

    def _is_allowed(self, address: Address) -> bool:
        inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        reached = inner or address
        if self.allow_loopback and reached.is_loopback:
            return True
        return any(reached in network for network in self.allowed_networks)


def is_loopback_host(host: str) -> bool:
    """Whether a host, by its name alone, is this machine."""
    name, _ = split_host(host)
    literal = addresses.parse_literal(name)
    if literal is not None:
        return addresses.is_loopback(literal)
    return name.lower() == "localhost"


def matches_host(pattern: str, host: str) -> bool:
    """Match `host`, `host:port`, `*.suffix` or a CIDR of literal addresses; no port covers all ports."""
    name, port = split_host(host)
    if "/" in pattern:
        literal = addresses.parse_literal(name)
        return literal is not None and literal in ip_network(pattern, strict=False)
    wanted, wanted_port = split_host(pattern)
    if wanted_port is not None and wanted_port != port:
        return False
    return name.endswith(wanted[1:]) if wanted.startswith("*.") else name == wanted


def _ends_in_a_number(name: str) -> bool:
    # getaddrinfo reads 127.1, 0x7f000001 and 2130706433 as addresses.
    last = name.rstrip(".").rpartition(".")[2].lower()
    return last.isdigit() or (last.startswith("0x") and all(c in "0123456789abcdef" for c in last[2:]))
