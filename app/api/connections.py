"""Limits the connections of a server, in total and per peer, and the time that each may take."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus

from app.api.forwarding import TrustedProxies


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of one server. The seconds apply to receiving a body and to writing a response."""

    connections: int = 4096
    peer_connections: int = 2048
    body_seconds: float = 15.0
    write_seconds: float = 15.0
    proxies: TrustedProxies = field(default_factory=TrustedProxies)


@dataclass(frozen=True, slots=True)
class RefusedConnection:
    """The answer to a connection over the limit."""

    status: HTTPStatus
    detail: str


class ClientConnections:
    """The open connections of one server.

    Many callers share the address of a trusted proxy, so its connections count only in all. The requests that
    it forwards are counted by caller instead (`middleware/client_limit.py`).
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.open = 0
        self._by_peer: Counter[str] = Counter()

    def enter(self, peer: str | None) -> RefusedConnection | None:
        """Count a new connection. Return a refusal if it exceeds a limit."""
        self.open += 1
        if peer is not None:
            self._by_peer[peer] += 1
        if self.open > self.limits.connections:
            return RefusedConnection(
                HTTPStatus.SERVICE_UNAVAILABLE, "The broker has too many connections. Retry in a moment."
            )
        if peer is not None and peer not in self.limits.proxies and self._is_over(peer):
            return RefusedConnection(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"The address {peer} has more than {self.limits.peer_connections} connections. Close some.",
            )
        return None

    def leave(self, peer: str | None) -> None:
        self.open -= 1
        if peer is not None:
            self._by_peer[peer] -= 1
            if not self._by_peer[peer]:
                del self._by_peer[peer]

    @property
    def is_flooded(self) -> bool:
        """Whether so many connections are open that further ones are closed without a response."""
        return self.open > self.limits.connections + self.limits.connections // 4 + 1

    def _is_over(self, peer: str) -> bool:
        return self._by_peer[peer] > self.limits.peer_connections
