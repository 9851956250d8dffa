"""How many connections a server has, in all and by peer, and how long each may take."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus

from app.api.forwarding import TrustedProxies


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of one server; the seconds are for a body, and for an answer that is not read."""

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
        """Count a new connection; return why it must not go on, if it is one too many."""
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
        """Whether there are so many that the next ones are closed without an answer."""
        return self.open > self.limits.connections + self.limits.connections // 4 + 1

    def _is_over(self, peer: str) -> bool:
        return self._by_peer[peer] > self.limits.peer_connections
