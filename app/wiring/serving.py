"""The API behind a socket that tells its address."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from app.api.app import create_app
from app.api.protocol import BoundedProtocol
from app.settings import Settings
from app.wiring.parts import Wired
from app.wiring.running import listening, running

Announce = Callable[[str], object]


async def serve(settings: Settings, wired: Wired, announce: Announce, *, with_worker: bool) -> None:
    admin_token = settings.admin_token.get_secret_value() if settings.admin_token else None
    services = running(settings, wired) if with_worker else listening(wired)
    app = create_app(lambda: services, version=wired.services.version, max_body_bytes=settings.max_body_bytes)
    try:
        await wired.services.readiness.check()
        made = await wired.services.tokens.bootstrap(admin_token)
        server = _AnnouncingServer(
            server_config(settings, app), lambda address: _announce(announce, address, made)
        )
        keep_what_is_loaded()
        await server.serve()
    finally:
        await wired.database.dispose()


def server_config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    """How the API is served, wherever it listens."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Longer than proxies keep theirs, so that it is never us who close under a request.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.stop_seconds),
    )


def keep_what_is_loaded() -> None:
    # All that the start has made stays until the end; searched for garbage, it stops everything for 75 ms.
    gc.collect()
    gc.freeze()


class _AnnouncingServer(uvicorn.Server):
    """Tells its address once it listens there, which with port 0 nobody knows before."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[str], object]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn would raise the signal again when it has drained, and end us before our own clean-up."""
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
            self._on_listening(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def _announce(announce: Announce, address: str, made: str | None) -> None:
    if made is not None:
        announce(f"Admin token, shown this once: {made}")
    announce(f"Manifest Broker listens on {address}, and its API is described at {address}/docs")
