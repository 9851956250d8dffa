"""A running broker: the real application and a worker in the test's loop, behind a real socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

import httpx2
import uvicorn

from app.api.app import AppOptions, create_app
from app.api.dependencies import BrokerServices
from app.operations.retries import RetryPolicy
from app.registry.client import Limits
from app.settings import Settings
from app.wiring import (
    BrokerParts,
    app_options,
    build_parts,
    running_with_worker,
    running_without_worker,
    server_config,
)
from tests.support.openapi_contract import check_response
from tests.support.plain_http import plain_client

Json = dict[str, Any]
Client = httpx2.AsyncClient

# Registries in tests fail at once or never, so long retries gain nothing.
QUICK = RetryPolicy(max_attempts=2, base=0.01, cap=0.02, longest_park=0.0)
# Retries are quick enough for a receiver that recovers within a test.
PERSISTENT = RetryPolicy(max_attempts=1_000, base=0.01, cap=0.1, shortest_wait=0.01, longest_wait=0.1)
PATIENCE = 120.0
KEY = base64.b64encode(b"k" * 32).decode()


class Broker:
    """`async with Broker(database_url) as broker:` and it answers at `broker.base_url`.

    Settings are overridden by their names; without a worker operations are accepted and left. `policy` is for
    all operations, or with a `prompt` only for those that nobody waits for.
    """

    def __init__(
        self,
        database_url: str,
        *,
        policy: RetryPolicy = QUICK,
        prompt: RetryPolicy | None = None,
        delivery: RetryPolicy = PERSISTENT,
        limits: Limits | None = None,
        worker: bool = True,
        token: str | None = None,
        **settings: Any,
    ) -> None:
        self.token = token or new_token()
        self.settings = Settings.model_validate(
            {
                "database_url": database_url,
                "admin_token": self.token,
                "allow_loopback": True,
                "secret_key": KEY,
                "wrong_tokens_per_minute": 1_000_000,
                "stop_seconds": 5.0,
                "registry_connect_seconds": 2.0,
                "registry_call_seconds": 20.0,
                "webhook_seconds": 5.0,
                "worker_concurrency": 8,
                "pool_size": 5,
                **settings,
            }
        )
        self.base_url = ""
        self._policy = policy
        self._prompt = prompt or policy
        self._delivery = delivery
        self._limits = limits
        self._worker = worker
        self._cleanup = contextlib.AsyncExitStack()
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """One that carries the admin token."""
        assert self._client is not None
        return self._client

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            parts = build_parts(
                self.settings,
                self._database_url(),
                push=self._policy,
                prompt=self._prompt,
                delivery=self._delivery,
                limits=self._limits,
            )
            stack.push_async_callback(parts.database.dispose)
            await parts.services.tokens.bootstrap(self.token)
            self.base_url = await stack.enter_async_context(self._serving(parts))
            self._client = await stack.enter_async_context(self.client_with(self.token))
            self._cleanup = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cleanup.aclose()

    def client_with(self, token: str | None, **headers: str) -> Client:
        """A client of someone else's, to be closed by its block."""
        bearer = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return plain_client(
            base_url=self.base_url,
            headers={**bearer, **headers},
            timeout=PATIENCE,
            trust_env=False,
            # Every answer in every test must conform to the OpenAPI document.
            event_hooks={"response": [check_response]},
        )

    # --- calls that most tests make ---

    async def call(
        self, method: str, path: str, body: object = None, *, status: int = 200, **headers: str
    ) -> Any:
        """The answer's JSON; anything but the status that was expected is a failure."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await self.client.request(method, path, json=body, headers=sent)
        assert reply.status_code == status, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json() if reply.content else None

    async def create(self, reference: str, *sources: object, status: int = 201, **members: object) -> Any:
        body = {"reference": reference, "sources": list(sources), "insecure": True, **members}
        return await self.call("POST", "/v1/lists", body, status=status)

    async def push(self, list_id: str, *, status: int = 200, **members: object) -> Any:
        body = {"insecure": True, **members}
        return await self.call("POST", f"/v1/lists/{list_id}/push", body, status=status)

    async def ended(self, operation_id: str) -> Any:
        """The operation, once it has ended; its stream ends with it."""
        async with self.client.stream("GET", f"/v1/operations/{operation_id}/events") as reply:
            async for _line in reply.aiter_lines():
                pass
        return await self.call("GET", f"/v1/operations/{operation_id}")

    async def new_token(self, project: str = "default", *, name: str = "ci", admin: bool = False) -> str:
        body = {"name": name, "project": project, "admin": admin}
        made = await self.call("POST", "/v1/tokens", body, status=201)
        return str(made["token"])

    # --- the server ---

    def _database_url(self) -> str:
        assert self.settings.database_url is not None
        return self.settings.database_url.get_secret_value()

    @contextlib.asynccontextmanager
    async def _serving(self, parts: BrokerParts) -> AsyncIterator[str]:
        services = (
            running_with_worker(self.settings, parts, self._policy)
            if self._worker
            else running_without_worker(parts)
        )
        application = _Application.idle(parts.services.version, app_options(self.settings))
        application.services = services
        listener = socket.create_server(("127.0.0.1", 0))
        # A socket that asyncio has not made itself has Nagle's delay, which costs each call 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = _Server(server_config(self.settings, application.asgi))
        serving = asyncio.create_task(server.serve([listener]))
        up = asyncio.create_task(server.up.wait())
        await asyncio.wait([serving, up], return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.stop()
            await serving
            application.release()


def new_token() -> str:
    return f"admin-{secrets.token_hex(16)}"


class StartBroker(Protocol):
    """Starts a broker with settings of the test's own."""

    async def __call__(self, *, worker: bool = True, **settings: Any) -> Broker: ...


class _Application:
    """An application that brokers use one after another: FastAPI builds its routes and its document once."""

    _idle: ClassVar[dict[tuple[str, AppOptions], list[_Application]]] = defaultdict(list)

    def __init__(self, version: str, options: AppOptions) -> None:
        self.services: AbstractAsyncContextManager[BrokerServices]
        self.asgi = create_app(lambda: self.services, options, version=version)
        self._others = self._idle[version, options]

    @classmethod
    def idle(cls, version: str, options: AppOptions) -> _Application:
        others = cls._idle[version, options]
        return others.pop() if others else cls(version, options)

    def release(self) -> None:
        self._others.append(self)


class _Server(uvicorn.Server):
    """Says when it listens, leaves the signals to pytest, and stops at once.

    Uvicorn looks for its end ten times a second and then sleeps for another tenth, in each test of a broker.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        # The first tick sets the default headers.
        await self.on_tick(0)
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for _ in range(4):
            if not self.server_state.connections and not self.server_state.tasks:
                for server in self.servers:
                    server.close()
                await self.lifespan.shutdown()
                return
            # What the client has closed is gone in a moment.
            await asyncio.sleep(0.005)
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def registry_auth(document: Mapping[str, str]) -> str:
    """The value of an X-Registry-Auth header."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def check_problem(reply: httpx2.Response, status: int, code: str | None = None) -> Json:
    """The problem document of an answer, whose form is checked here for every test."""
    assert reply.status_code == status, f"{reply.status_code} {reply.text}"
    assert reply.headers["Content-Type"] == "application/problem+json"
    document: Json = reply.json()
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    if code is not None:
        assert document["type"] == f"urn:manifest-broker:problem:{code}", document
    return document
