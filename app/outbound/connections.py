"""Chooses the transport of each request: one for each way to trust the peer's TLS."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx2

from app.oci.reference import canonical_host
from app.outbound.limits import OutboundLimits
from app.outbound.policy import AccessPolicy
from app.outbound.resolver import CheckedResolver, Lookup, Lookups
from app.outbound.tls import TlsTrust, unverified_tls, verified_tls
from app.outbound.transport import AiohttpTransport
from app.outbound.url import Url

__all__ = ["Connections", "TransportFactory"]

# Opens a transport with a TLS context.
TransportFactory = Callable[[ssl.SSLContext], httpx2.AsyncBaseTransport]


@dataclass(frozen=True, slots=True)
class _Trust:
    """The differences between two transports: a host with TLS settings of its own, and how they are used."""

    host: str | None
    with_identity: bool
    verify: bool


class Connections:
    """The transports of one client, each opened for the first request that needs it.

    `open_transport` replaces the engine, with its check of addresses; ports and hosts are checked before.
    """

    def __init__(
        self,
        policy: AccessPolicy,
        limits: OutboundLimits,
        *,
        trusts: Mapping[str, TlsTrust] | None = None,
        tls: ssl.SSLContext | None = None,
        lookup: Lookup | None = None,
        open_transport: TransportFactory | None = None,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._lookups = Lookups()
        self._resolver = CheckedResolver(policy, lookup or self._lookups.find, seconds=limits.connect_seconds)
        self._trusts = {canonical_host(host): trust for host, trust in (trusts or {}).items()}
        self._tls = tls
        self._open_transport = open_transport or self._open_engine
        self._transports: dict[_Trust, httpx2.AsyncBaseTransport] = {}

    def transport(self, url: Url, *, peer: str, verify: bool) -> httpx2.AsyncBaseTransport:
        """The transport for a request that is made on behalf of `peer`.

        A client certificate is for requests to its own peer only, wherever redirects lead. Every request
        passes here, so nothing connects to a port that is not allowed.
        """
        self._policy.check_port(url.port, peer=peer)
        host = canonical_host(url.authority) if url.scheme == "https" else None
        settings = self._trusts.get(host) if host is not None else None
        trust = _Trust(
            host if settings is not None else None,
            with_identity=settings is not None and host == canonical_host(peer),
            verify=verify,
        )
        transport = self._transports.get(trust)
        if transport is None:
            transport = self._open_transport(self._context(trust, settings))
            self._transports[trust] = transport
        return transport

    async def close(self) -> None:
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            await transport.aclose()
        await self._lookups.close()

    def _open_engine(self, tls: ssl.SSLContext) -> httpx2.AsyncBaseTransport:
        return AiohttpTransport(self._resolver, tls, connect_seconds=self._limits.connect_seconds)

    def _context(self, trust: _Trust, settings: TlsTrust | None) -> ssl.SSLContext:
        if not trust.verify:
            return unverified_tls(settings, with_identity=trust.with_identity)
        if settings is None and self._tls is not None:
            return self._tls
        return verified_tls(settings, with_identity=trust.with_identity)
