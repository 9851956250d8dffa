"""The public base URL: every address that a response gives begins with it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.addresses import based_on
from app.api.forwarding import TrustedProxies, forwarded_base

# The beginnings of the broker's own paths.
_OWN = ("/v1/", "/healthz", "/readyz", "/metrics", "/version", "/docs", "/openapi.json")


class PublicUrl:
    """Decides the base of a request's addresses: the operator's URL, or what trusted proxies say.

    A proxy may forward the path with the prefix or without it.
    """

    def __init__(self, app: ASGIApp, public_url: str | None, trusted_proxies: Sequence[str] = ()) -> None:
        self._app = app
        self._public_url = public_url
        self._proxies = TrustedProxies.parse(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        base = self._base(scope)
        with based_on(base):
            await self._app(_without_prefix(scope, urlsplit(base).path), receive, send)

    def _base(self, scope: Scope) -> str:
        if self._public_url is not None:
            return self._public_url
        peer = scope["client"][0] if scope.get("client") else None
        return forwarded_base(Headers(scope=scope), peer=peer, scheme=scope["scheme"], proxies=self._proxies)


def _without_prefix(scope: Scope, prefix: str) -> Scope:
    path: str = scope["path"]
    rest = path.removeprefix(prefix)
    if not prefix or not path.startswith(f"{prefix}/"):
        return scope
    if path.startswith(_OWN) and not rest.startswith(_OWN):
        # The prefix has the name of one of the broker's paths, and the proxy has removed it.
        return scope
    return {**scope, "path": rest}
