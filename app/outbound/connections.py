"""Connections to checked addresses only, kept alive and pooled: a pool for each way to trust."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import httpcore2  # noqa: F401 - httpx2 imports it, sixty modules, at the first request: on the loop
import httpx2
from httpx_aiohttp.httpx2 import AiohttpTransport
from multidict import CIMultiDict
from yarl import URL

from app.oci.reference import canonical_registry
from app.outbound.limits import OutboundLimits
from app.outbound.policy import AccessPolicy
from app.outbound.resolver import CheckedResolver, Lookup, Lookups
from app.outbound.response_limits import Connector
from app.outbound.tls import TlsTrust, unverified_tls, verified_tls
from app.outbound.url import Url

__all__ = ["Lookup", "Opened", "Pool", "Pools"]

_HEADERS = {"User-Agent": "manifest-broker", "Accept-Encoding": "identity"}
_MAX_HEADERS = 64
_MAX_HEADER_BYTES = 8190
_DNS_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer whose body is still to come, as the wire has it."""

    status: int
    headers: CIMultiDict[str]
    chunks: AsyncIterator[bytes]


class Pool:
    """Connections with one kind of TLS, spoken to through httpx2 or directly."""

    def __init__(self, resolver: CheckedResolver, limits: OutboundLimits, tls: ssl.SSLContext) -> None:
        self._limits = limits
        connector = Connector(resolver, tls, dns_seconds=_DNS_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            skip_auto_headers=["Content-Type"],
            middlewares=(_once,),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_seconds),
            auto_decompress=False,
            trust_env=False,
            max_headers=_MAX_HEADERS,
            max_field_size=_MAX_HEADER_BYTES,
            max_line_size=_MAX_HEADER_BYTES,
        )
        self._transport = AiohttpTransport(client=self._session, verify=tls, trust_env=False)

    @asynccontextmanager
    async def call(
        self, method: str, url: Url, headers: Mapping[str, str], content: bytes | None
    ) -> AsyncIterator[Opened]:
        """A request with a small body, to an address that we made."""
        request = httpx2.Request(
            method,
            str(url),
            headers=headers,
            content=content,
            extensions={"timeout": {"connect": self._limits.connect_seconds}},
        )
        response = await self._transport.handle_async_request(request)
        try:
            yield Opened(
                response.status_code, CIMultiDict(response.headers.multi_items()), response.aiter_raw()
            )
        finally:
            await response.aclose()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | bytes | None = None,
    ) -> AsyncIterator[Opened]:
        """A request for or with a blob.

        Addresses that a registry gave go out byte for byte; httpx2's transport would quote them anew.
        """
        async with self._session.request(
            method, URL(str(url), encoded=True), headers=headers, data=body, allow_redirects=False
        ) as response:
            yield Opened(response.status, CIMultiDict(response.headers), response.content.iter_any())

    async def close(self) -> None:
        await self._session.close()


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps aiohttp from repeating idempotent requests by itself: attempts are counted in one place only."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except aiohttp.ClientOSError as error:
        # With TLS 1.3 a server refuses our certificate, or the lack of one, only after the handshake.
        if isinstance(error.__cause__, ssl.SSLError) and "_ALERT_" in str(error):
            raise error.__cause__ from None
        raise aiohttp.ClientConnectionError(str(error)) from error
    except aiohttp.ServerDisconnectedError as error:
        raise aiohttp.ClientConnectionError(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Way:
    """What tells two pools apart: the host with a trust of its own, if any, and what is shown and checked."""

    host: str | None
    with_identity: bool
    verify: bool


class Pools:
    """The pool for each request: its host's own where the operator said how to trust it, or a common one."""

    def __init__(
        self,
        policy: AccessPolicy,
        limits: OutboundLimits,
        *,
        trusts: Mapping[str, TlsTrust] | None = None,
        tls: ssl.SSLContext | None = None,
        lookup: Lookup | None = None,
    ) -> None:
        self._policy = policy
        self._lookups = Lookups()
        seconds = limits.connect_seconds
        self._resolver = CheckedResolver(policy, lookup or self._lookups.find, seconds=seconds)
        self._limits = limits
        self._trusts = {canonical_registry(host): trust for host, trust in (trusts or {}).items()}
        self._tls = tls
        self._pools: dict[_Way, Pool] = {}

    def of(self, url: Url, *, registry: str, verify: bool) -> Pool:
        """The client certificate is for requests of its own registry only, wherever others may send us.

        Whatever is asked for passes here, and so nothing is connected to at a port that is not allowed.
        """
        self._policy.check_port(url.port, peer=registry)
        host = canonical_registry(url.authority) if url.scheme == "https" else None
        trust = self._trusts.get(host) if host is not None else None
        way = _Way(
            host if trust is not None else None,
            with_identity=trust is not None and host == canonical_registry(registry),
            verify=verify,
        )
        pool = self._pools.get(way)
        if pool is None:
            pool = self._pools[way] = Pool(self._resolver, self._limits, self._context(way, trust))
        return pool

    async def close(self) -> None:
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.close()
        await self._lookups.close()

    def _context(self, way: _Way, trust: TlsTrust | None) -> ssl.SSLContext:
        if not way.verify:
            return unverified_tls(trust, with_identity=way.with_identity)
        if trust is None and self._tls is not None:
            return self._tls
        return verified_tls(trust, with_identity=way.with_identity)
