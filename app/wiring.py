"""Where everything is constructed: settings in, running processes out."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from uuid import UUID

import uvicorn
from fastapi import FastAPI

from app.api.app import create_app
from app.api.context import Services
from app.api.protocol import BoundedProtocol
from app.errors import InvalidInput
from app.logs import configure_logging
from app.operations.retries import RetryPolicy
from app.operations.states import Kind
from app.registry.client import AccessPolicy, Credential, Keychain, Limits, RegistryClient, Trust
from app.registry.trust import read_certs_dir
from app.registry.urls import canonical_registry
from app.runner.housekeeper import Chore, Housekeeper
from app.runner.runner import LEASE, Runner
from app.services.attempts import Handler
from app.services.composing import Composer
from app.services.credentials import Credentials
from app.services.deadlines import Deadlines
from app.services.deliveries import Deliveries
from app.services.events import Events
from app.services.inspections import Inspections
from app.services.intake import Intake
from app.services.lists import Lists
from app.services.operations import Operations
from app.services.planning import Planning
from app.services.pushes import Pushes
from app.services.readiness import Readiness
from app.services.registries import Registries
from app.services.saving import Saving
from app.services.sealing import Seal
from app.services.signing import Secrets
from app.services.tokens import Tokens
from app.services.webhooks import Webhooks
from app.settings import Settings, secret_key_of
from app.store.budgets import forget_old_budgets
from app.store.database import Database
from app.store.deliveries import forget_old_deliveries
from app.store.embedded import EmbeddedPostgres, postgres_on
from app.store.events import forget_old_events
from app.store.migrate import upgrade
from app.store.notifications import Notifications
from app.store.operations import forget_ended
from app.store.tokens import Token

Announce = Callable[[str], object]

# For calls that someone waits for: rather an answer soon than success late, and no pause that is longer than
# callers wait by default. A push is worth more patience.
PROMPT = RetryPolicy(max_attempts=3, base=0.25, cap=2.0, longest_park=10.0)

# A receiver that is away is tried for days, until the deadline of its delivery: soon at first, then rarely.
DELIVERY = RetryPolicy(
    max_attempts=1_000, base=5.0, cap=6 * 3600.0, shortest_wait=1.0, longest_wait=6 * 3600.0
)

# So long a request waits for a registry that asked for a pause; beyond it the operation is parked.
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Wired:
    """The parts of one process."""

    database: Database
    notifications: Notifications
    client: RegistryClient
    services: Services
    handlers: Mapping[Kind, Handler]
    registries: Registries
    deadlines: Deadlines
    saving: Saving
    chores: Sequence[Chore]


def broker_version() -> str:
    try:
        return version("manifest-broker")
    except PackageNotFoundError:
        return "0.0.0"


def wire(
    settings: Settings,
    url: str,
    *,
    prompt: RetryPolicy = PROMPT,
    delivery: RetryPolicy = DELIVERY,
    limits: Limits | None = None,
) -> Wired:
    """Construct everything once; nothing is connected yet.

    `prompt` is how patient the operations are that callers wait for, `delivery` those that bring events;
    `limits` are those of the registry client that are not settings.
    """
    database = Database(url, pool_size=settings.pool_size)
    notifications = Notifications(url)
    client = RegistryClient(
        AccessPolicy.parse(
            allowed_networks=settings.allowed_networks,
            insecure_registries=settings.insecure_registries,
            registries=settings.registries,
            receivers=settings.receivers,
            allow_loopback=settings.loopback_allowed,
            token_origins=settings.token_origins,
        ),
        limits=replace(
            limits or Limits(),
            concurrency=settings.registry_concurrency,
            connect_seconds=settings.registry_connect_seconds,
            call_seconds=settings.registry_call_seconds,
            patience_seconds=PATIENCE_SECONDS,
            hook_seconds=settings.webhook_seconds,
        ),
        trusts=_trusts(settings),
    )
    seal = Seal(secret_key_of(settings))
    secrets = Secrets(seal)
    credentials = Credentials(_keychain(settings), seal)
    intake = Intake(credentials)
    events = Events(database, notifications)
    pushes = Pushes(database, client, credentials, intake, events)
    saving = Saving(pushes, events)
    planning = Planning(database, client, credentials, intake)
    inspections = Inspections(database, client, credentials, intake)
    composer = Composer(database, client, credentials, saving)
    deliveries = Deliveries(database, client, secrets)
    handlers = {
        Kind.CREATE_LIST: Handler(composer.perform_create, policy=prompt),
        Kind.ADD_ENTRIES: Handler(composer.perform_add, policy=prompt),
        Kind.REFRESH_LIST: Handler(composer.perform_refresh, policy=prompt),
        Kind.PLAN_PUSH: Handler(planning.perform, policy=prompt),
        Kind.INSPECT_IMAGE: Handler(inspections.perform, policy=prompt),
        Kind.INSPECT_IMAGES: Handler(inspections.perform_many, policy=prompt),
        Kind.PUSH_LIST: Handler(pushes.perform, pushes.ended),
        Kind.DELIVER: Handler(deliveries.perform, deliveries.ended, policy=delivery),
    }
    services = Services(
        lists=Lists(database, notifications, intake, saving),
        pushes=pushes,
        planning=planning,
        inspections=inspections,
        operations=Operations(database, notifications, handlers),
        events=events,
        webhooks=Webhooks(database, client, secrets),
        deliveries=deliveries,
        tokens=Tokens(database),
        readiness=Readiness(database),
        version=broker_version(),
    )
    registries = Registries(database, notifications, client.budgets)
    deadlines = Deadlines(database, saving)
    chores: list[Chore] = [
        saving.remove_expired,
        forget_old_budgets,
        forget_old_events,
        forget_old_deliveries,
        services.deliveries.go_on,
        partial(forget_ended, older_than=timedelta(days=settings.keep_operations_days)),
    ]
    return Wired(database, notifications, client, services, handlers, registries, deadlines, saving, chores)


async def run_api_and_worker(settings: Settings, *, announce: Announce) -> None:
    """API and worker in one process; without a database of the operator's, on an embedded one."""
    configure_logging(settings.log_level, settings.log_format)
    with _database(settings) as url:
        await upgrade(url)
        await _serve(settings, wire(settings, url), announce, with_worker=True)


async def run_api(settings: Settings, *, announce: Announce) -> None:
    """The API alone; workers run elsewhere."""
    configure_logging(settings.log_level, settings.log_format)
    with _database(settings) as url:
        await _serve(settings, wire(settings, url), announce, with_worker=False)


async def run_worker(settings: Settings) -> None:
    """Operations alone, until told to stop."""
    configure_logging(settings.log_level, settings.log_format)
    with _database(settings) as url:
        wired = wire(settings, url)
        runner = _runner(settings, wired)
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, runner.stop)
        _keep_what_is_loaded()
        try:
            async with _listening(wired), _asking(wired):
                await runner.run()
        finally:
            await wired.database.dispose()


async def run_migrations(settings: Settings) -> None:
    """Bring the database to this version's tables."""
    with _database(settings) as url:
        await upgrade(url)


async def create_token(settings: Settings, project: str, name: str, admin: bool) -> str:
    """The text of a new token; its project is made if there is none of that name."""
    async with _tokens(settings) as tokens:
        await tokens.ensure_project(project)
        _, text = await tokens.create(project, name, admin=admin)
        return text


async def list_tokens(settings: Settings) -> list[Token]:
    async with _tokens(settings) as tokens:
        return await tokens.live()


async def revoke_token(settings: Settings, token_id: UUID) -> None:
    async with _tokens(settings) as tokens:
        await tokens.revoke(token_id)


async def _serve(settings: Settings, wired: Wired, announce: Announce, *, with_worker: bool) -> None:
    admin_token = settings.admin_token.get_secret_value() if settings.admin_token else None
    services = running(settings, wired) if with_worker else listening(wired)
    app = create_app(lambda: services, version=wired.services.version, max_body_bytes=settings.max_body_bytes)
    try:
        await wired.services.readiness.check()
        made = await wired.services.tokens.bootstrap(admin_token)
        server = _AnnouncingServer(
            server_config(settings, app), lambda address: _announce(announce, address, made)
        )
        _keep_what_is_loaded()
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


def _keep_what_is_loaded() -> None:
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


@asynccontextmanager
async def running(
    settings: Settings, wired: Wired, policy: RetryPolicy | None = None, *, lease: timedelta = LEASE
) -> AsyncIterator[Services]:
    """The services with a worker beside them, which is stopped gracefully at the end."""
    runner = _runner(settings, wired, policy, lease)
    async with _listening(wired), _asking(wired), asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        try:
            yield wired.services
        finally:
            runner.stop()


@asynccontextmanager
async def listening(wired: Wired) -> AsyncIterator[Services]:
    """The services alone: operations wait for a worker elsewhere.

    No registry is asked; of the client only its processes are used, which read large manifests.
    """
    async with _listening(wired), wired.client:
        yield wired.services


@asynccontextmanager
async def _listening(wired: Wired) -> AsyncIterator[None]:
    """Notifications, deadlines and housekeeping for as long as the block runs."""
    housekeeper = Housekeeper(wired.database, wired.chores)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(each.run()) for each in (wired.notifications, wired.deadlines, housekeeper)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def _asking(wired: Wired) -> AsyncIterator[None]:
    """The registry client for as long as the block runs, and what it learns shared with the other workers."""
    async with wired.client, asyncio.TaskGroup() as group:
        sharing = group.create_task(wired.registries.run())
        try:
            yield
        finally:
            sharing.cancel()


def _runner(
    settings: Settings, wired: Wired, policy: RetryPolicy | None = None, lease: timedelta = LEASE
) -> Runner:
    return Runner(
        wired.database,
        wired.notifications,
        wired.handlers,
        concurrency=settings.worker_concurrency,
        share=settings.registry_operations,
        lease=lease,
        beat=lease / 3,
        grace=timedelta(seconds=settings.stop_seconds),
        policy=policy,
    )


@contextmanager
def _database(settings: Settings, *, beside: bool = False) -> Iterator[str]:
    """The operator's database, or the embedded one for as long as the block runs.

    The embedded one is ours alone, or if we may run beside a service the one that it has started.
    """
    root = settings.data / "postgres"
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
    elif beside:
        with postgres_on(root, binaries=settings.pg_bin) as url:
            yield url
    else:
        with EmbeddedPostgres(root, binaries=settings.pg_bin) as server:
            yield server.url


@asynccontextmanager
async def _tokens(settings: Settings) -> AsyncIterator[Tokens]:
    """For the command line: beside a running service too."""
    with _database(settings, beside=True) as url:
        if settings.embedded:
            await upgrade(url)
        database = Database(url, pool_size=1)
        try:
            await Readiness(database).check()
            yield Tokens(database)
        finally:
            await database.dispose()


def _trusts(settings: Settings) -> dict[str, Trust]:
    """What the operator gave: a directory as Docker's, and before it the settings by host."""
    trusts = read_certs_dir(settings.certs_dir) if settings.certs_dir is not None else {}
    for host, given in settings.registry_tls.items():
        authorities = (given.ca,) if given.ca is not None else ()
        trusts[canonical_registry(host)] = Trust(authorities, given.cert, given.key)
    for trust in trusts.values():
        trust.check()
    return trusts


def _keychain(settings: Settings) -> Keychain:
    """What the operator gave: a Docker config.json, and before it the credentials by host."""
    document: object = {}
    if settings.docker_config is not None:
        try:
            document = json.loads(settings.docker_config.read_text())
        except (OSError, ValueError) as error:
            raise InvalidInput(f"BROKER_DOCKER_CONFIG can't be read: {error}") from None
    keychain = Keychain.from_docker_config(document if isinstance(document, dict) else {})
    for host, given in settings.registry_credentials.items():
        credential = Credential(
            username=given.username,
            password=given.password.get_secret_value(),
            identity_token=given.identity_token.get_secret_value(),
            registry_token=given.registry_token.get_secret_value(),
        )
        keychain = keychain.with_credential(host, credential)
    return keychain
