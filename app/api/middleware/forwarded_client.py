"""Finds the client behind trusted proxies, and limits its concurrent requests."""

from __future__ import annotations

from collections import Counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.forwarding import TrustedProxies, forwarded_client
from app.errors import TooManyRequests

__all__ = ["REFUSAL", "ForwardedClient"]

# The key in a request's state that holds the error to respond with.
REFUSAL = "refusal"
_RETRY_AFTER_SECONDS = 5


class ForwardedClient:
    """Sets `scope["client"]` to the client that trusted proxies report, and limits its concurrent requests.

    Clients without a proxy have a limit on connections instead (`api/connections.py`).
    """

    def __init__(self, app: ASGIApp, proxies: TrustedProxies, limit: int) -> None:
        self._app = app
        self._proxies = proxies
        self._limit = limit
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer: str = scope["client"][0] if scope.get("client") else ""
        if scope["type"] != "http" or peer not in self._proxies:
            await self._app(scope, receive, send)
            return
        client = forwarded_client(Headers(scope=scope), peer=peer, proxies=self._proxies)
        scope = {**scope, "client": (client, 0), "state": dict(scope.get("state", {}))}
        self._open[client] += 1
        if self._open[client] > self._limit:
            scope["state"][REFUSAL] = TooManyRequests(
                f"The address {client} has more than {self._limit} requests at a time. Wait for some to end.",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]
