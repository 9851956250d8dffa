"""Serves the API with uvicorn and announces its address."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType

import uvicorn
from fastapi import FastAPI

from app.api.app import AppOptions, create_app
from app.api.connections import ConnectionLimits
from app.api.dependencies import BrokerServices
from app.api.forwarding import TrustedProxies
from app.api.middleware.forwarded_client import ForwardedClient
from app.api.middleware.public_url import PublicUrl
from app.api.protocol import bounded_by
from app.errors import InvalidInput
from app.settings import Settings
from app.wiring.lifecycle import running_with_worker, running_without_worker
from app.wiring.parts import BrokerParts

Announce = Callable[[str], object]


async def serve(settings: Settings, parts: BrokerParts, announce: Announce, *, with_worker: bool) -> None:
    admin_token = settings.admin_token.get_secret_value() if settings.admin_token else None
    services = running_with_worker(settings, parts) if with_worker else running_without_worker(parts)
    lifespan = _Lifespan(services)
    app = create_app(lambda: lifespan, app_options(settings), version=parts.services.version)
    try:
        await parts.services.readiness.check()
        # Listen before the token is created: if listening failed later, the only token would be lost.
        with listener(settings.host, settings.port) as listening_at:
            made = await parts.services.tokens.bootstrap(admin_token)
            if made is not None:
                announce(f"Admin token (shown only once): {made}")
            server = _AnnouncingServer(
                server_config(settings, app), announce, parts.notifications.close, settings.public_url
            )
            lifespan.on_end = server.stop
            freeze_garbage_collector()
            await server.serve([listening_at])
    finally:
        await parts.database.dispose()
    if lifespan.failure is not None:
        raise lifespan.failure


def app_options(settings: Settings) -> AppOptions:
    return AppOptions(
        max_body_bytes=settings.max_body_bytes,
        wrong_tokens=settings.wrong_tokens_per_minute,
        operator_pages=settings.operator_pages,
        hsts_seconds=settings.hsts_seconds,
    )


class _Lifespan:
    """Runs the parts. The process stops if they fail: the API alone would accept work that never runs."""

    def __init__(self, parts: AbstractAsyncContextManager[BrokerServices]) -> None:
        self.failure: BaseException | None = None
        self.on_end: Callable[[], None] = _nothing
        self._parts = parts

    async def __aenter__(self) -> BrokerServices:
        return await self._parts.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._parts.__aexit__(kind, value, trace)
        except BaseException as failure:
            self.failure = failure
            raise
        finally:
            self.on_end()


def _nothing() -> None:
    pass


def listener(host: str, port: int) -> socket.socket:
    """A listening socket; raises InvalidInput if the address can't be used."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise InvalidInput(
            f"Can't listen on {host} port {port}: {reason}. Choose another address with --host and --port "
            "or with BROKER_HOST and BROKER_PORT."
        ) from None


def server_config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    """The uvicorn configuration of the API."""
    limits = ConnectionLimits(
        settings.connections,
        settings.peer_connections,
        settings.body_seconds,
        settings.write_seconds,
        TrustedProxies.parse(settings.trusted_proxies),
    )
    return uvicorn.Config(
        PublicUrl(
            ForwardedClient(app, limits.proxies, limits.peer_connections),
            settings.public_url,
            settings.trusted_proxies,
        ),
        host=settings.host,
        port=settings.port,
        http=bounded_by(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Uvicorn would believe X-Forwarded-For of every process on this machine.
        proxy_headers=False,
        # Longer than proxies keep idle connections, so that the broker never closes one during a request.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.stop_seconds),
    )


def freeze_garbage_collector() -> None:
    # The objects of the start live until the end. Without this, each full collection takes 75 ms for them.
    gc.collect()
    gc.freeze()


class _AnnouncingServer(uvicorn.Server):
    """Announces its address, which is unknown before with port 0, and calls `on_stopping` when it stops."""

    def __init__(
        self,
        config: uvicorn.Config,
        announce: Announce,
        on_stopping: Callable[[], object],
        public_url: str | None,
    ) -> None:
        super().__init__(config)
        self._public_url = public_url
        self._announce = announce
        self._on_stopping = on_stopping

    def stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Release waiting requests first, because the shutdown waits for their connections.
        self._on_stopping()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals here: uvicorn would raise them again and end the process before its clean-up."""
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self.handle_exit, each, None)
        try:
            yield
        finally:
            for each in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(each)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            docs = f"{self._public_url or address}/docs"
            self._announce(f"Manifest Broker listens on {address} and documents its API at {docs}.")
