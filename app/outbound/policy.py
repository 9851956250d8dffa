"""What the operator lets the client reach, and how: addresses, ports, insecure ways, origins of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_network
from urllib.parse import urlsplit

from app import errors
from app.oci.reference import api_host, canonical_registry
from app.outbound import addresses
from app.outbound.addresses import Address, Network
from app.outbound.ports import Ports
from app.outbound.url import origin_of, parse_url, split_host

__all__ = ["AccessPolicy"]

# Registries whose documented token service has another host than they have themselves.
_KNOWN_TOKEN_ORIGINS: Mapping[str, frozenset[str]] = {
    "docker.io": frozenset({"https://auth.docker.io"}),
    "registry.gitlab.com": frozenset({"https://gitlab.com"}),
}
# A front for the registries of Google's regions, which answers each GET of a manifest with a redirect.
_KNOWN_REDIRECT_HOSTS: Mapping[str, tuple[str, ...]] = {"registry.k8s.io": ("*.pkg.dev",)}


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Public addresses over verified TLS are always allowed; everything else is named here.

    `allowed_networks` may be reached although they are not public. `insecure_registries` are `host`,
    `host:port`, `*.suffix` or a CIDR of literal addresses; a pattern without a port covers all ports.
    `registries` are patterns of the same kind: when there are any, no other registry may be named, and so
    are `receivers` for webhooks. `ports` are those that may be connected to, wherever a request goes.
    `token_origins` maps a registry to the origins, such as `https://auth.example.com`, that may be given its
    credentials. `redirect_hosts` maps a registry to patterns of the hosts where its manifests may lie; blobs
    may lie anywhere.
    """

    allowed_networks: tuple[Network, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()
    receivers: tuple[str, ...] = ()
    ports: Ports = field(default_factory=Ports)
    allow_loopback: bool = False
    token_origins: Mapping[str, frozenset[str]] = field(default_factory=dict)
    redirect_hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        *,
        allowed_networks: Iterable[str] = (),
        insecure_registries: Iterable[str] = (),
        registries: Iterable[str] = (),
        receivers: Iterable[str] = (),
        ports: Iterable[tuple[int, int]] = (),
        allow_loopback: bool = False,
        token_origins: Mapping[str, Iterable[str]] | None = None,
        redirect_hosts: Mapping[str, Iterable[str]] | None = None,
    ) -> AccessPolicy:
        """The policy from an operator's texts; raises ValueError for what is not a network or an origin."""
        return cls(
            allowed_networks=tuple(ip_network(text, strict=False) for text in allowed_networks),
            insecure_registries=tuple(pattern.strip().lower() for pattern in insecure_registries),
            registries=tuple(canonical_registry(pattern) for pattern in registries),
            receivers=tuple(pattern.strip().lower() for pattern in receivers),
            ports=Ports(tuple(ports)),
            allow_loopback=allow_loopback,
            token_origins={
                canonical_registry(host): frozenset(_parse_origin(text) for text in origins)
                for host, origins in (token_origins or {}).items()
            },
            redirect_hosts={
                canonical_registry(host): tuple(canonical_registry(pattern) for pattern in patterns)
                for host, patterns in (redirect_hosts or {}).items()
            },
        )

    def check_registry(self, registry: str) -> None:
        """Refuse a registry that there can't be, or that the operator lets nobody ask.

        Docker's grammar of references, which is ours, has ports of any length.
        """
        url = parse_url(f"https://{api_host(registry)}")
        if url is None:
            raise errors.InvalidReference(
                f"{registry} can't be asked: a port is from 1 to 65535, a host of 253 characters at most",
                registry=registry,
            )
        self.check_port(url.port, registry=registry)
        host = canonical_registry(registry)
        if self.registries and not any(_covers(pattern, host) for pattern in self.registries):
            raise errors.RegistryForbidden(
                f"{registry} is not among the registries that the operator lets the broker use "
                "(BROKER_REGISTRIES)",
                registry=registry,
            )

    def check_port(self, port: int, *, registry: str) -> None:
        """Refuse a port that no web client may speak to, or that is not among those of the operator."""
        if not self.ports.allow(port):
            raise errors.RegistryForbidden(
                f"{registry} leads to port {port}, to which the broker may not connect; "
                "the operator must name it first (BROKER_REGISTRY_PORTS)",
                registry=registry,
            )

    def may_receive(self, host: str) -> bool:
        """Whether webhooks may be sent to a host, as far as the operator's list goes, where there is one."""
        return not self.receivers or any(_covers(pattern, host) for pattern in self.receivers)

    def check_address(self, address: Address, *, registry: str = "") -> None:
        """Refuse an address that is neither public nor allowed."""
        if self._is_allowed(address):
            return
        reason = addresses.why_not_public(address)
        if reason is None:
            return
        name = registry or str(address)
        raise errors.RegistryForbidden(
            f"{name} has an address that is not public ({reason}); "
            "the operator must allow its network before the broker may reach it (BROKER_ALLOWED_NETWORKS)",
            registry=registry or None,
        )

    def check_host(self, host: str, *, registry: str = "") -> None:
        """Refuse a host that is itself a forbidden address, or a number that resolvers take for one."""
        name, _ = split_host(host)
        literal = addresses.parse_literal(name)
        if literal is not None:
            self.check_address(literal, registry=registry or host)
        elif _ends_in_a_number(name):
            raise errors.RegistryForbidden(
                f"{registry or host} is neither a name nor an address in its usual form",
                registry=registry or host,
            )

    def may_be_insecure(self, host: str) -> bool:
        """Whether unverified TLS and plain HTTP may be tried with this host when a caller asks for it."""
        if self.allow_loopback and is_loopback_host(host):
            return True
        return any(_covers(pattern, host.lower()) for pattern in self.insecure_registries)

    def trusts_token_origin(self, registry: str, origin: str) -> bool:
        """Whether the operator, or the built-in table, lets this origin have the registry's credentials."""
        host = canonical_registry(registry)
        listed = self.token_origins.get(host, frozenset())
        return origin in listed or origin in _KNOWN_TOKEN_ORIGINS.get(host, frozenset())

    def may_redirect(self, registry: str, host: str) -> bool:
        """Whether a registry's manifests may lie on another host; nothing but the question goes there."""
        name = canonical_registry(registry)
        patterns = (*self.redirect_hosts.get(name, ()), *_KNOWN_REDIRECT_HOSTS.get(name, ()))
        return any(_covers(pattern, host.lower()) for pattern in patterns)

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


def _covers(pattern: str, host: str) -> bool:
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


def _parse_origin(text: str) -> str:
    parts = urlsplit(text.strip() if "://" in text else f"https://{text.strip()}")
    if parts.scheme != "https":
        raise ValueError(f"{text!r} is not an origin such as https://auth.example.com")
    return origin_of(parts.geturl())
