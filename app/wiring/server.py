"""The API behind a socket that tells its address."""

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

from app.api.app import create_app
from app.api.dependencies import BrokerServices
from app.api.protocol import BoundedProtocol
from app.errors import InvalidInput
from app.settings import Settings
from app.wiring.lifecycle import running_with_worker, running_without_worker
from app.wiring.parts import BrokerParts

Announce = Callable[[str], object]


async def serve(settings: Settings, parts: BrokerParts, announce: Announce, *, with_worker: bool) -> None:
    admin_token = settings.admin_token.get_secret_value() if settings.admin_token else None
    services = running_with_worker(settings, parts) if with_worker else running_without_worker(parts)
    vital = _Vital(services)
    app = create_app(lambda: vital, version=parts.services.version, max_body_bytes=settings.max_body_bytes)
    try:
        await parts.services.readiness.check()
        # Before a token is made: one that nobody is shown would be lost, and none is made again.
        with listener(settings.host, settings.port) as listening_at:
            made = await parts.services.tokens.bootstrap(admin_token)
            if made is not None:
                announce(f"Admin token, shown this once: {made}")
            server = _AnnouncingServer(server_config(settings, app), announce, parts.notifications.close)
            vital.on_end = server.stop
            keep_what_is_loaded()
            await server.serve([listening_at])
    finally:
        await parts.database.dispose()
    if vital.failure is not None:
        raise vital.failure


class _Vital:
    """The parts of the process, which stops with them: the API alone would accept what nobody does."""

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
    """A socket that listens there already; raises InvalidInput where nobody can."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise InvalidInput(
            f"can't listen on {host} port {port}: {reason}; --host and --port choose another place, "
            "as BROKER_HOST and BROKER_PORT do"
        ) from None


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
    """Tells its address once it listens there, which with port 0 nobody knows before, and when it stops."""

    def __init__(self, config: uvicorn.Config, announce: Announce, on_stopping: Callable[[], object]) -> None:
        super().__init__(config)
        self._announce = announce
        self._on_stopping = on_stopping

    def stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Before the connections are waited for: whoever is held is answered now.
        self._on_stopping()
        await super().shutdown(sockets)

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
            address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            self._announce(
                f"Manifest Broker listens on {address}, and its API is described at {address}/docs"
            )
