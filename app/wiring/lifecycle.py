"""Runs the parts of a process for as long as a block runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta

from app.api.dependencies import BrokerServices
from app.operations.capacity import CapacityPool
from app.operations.retries import RetryPolicy
from app.operations.states import Kind
from app.runner.housekeeper import Housekeeper
from app.runner.runner import LEASE, Runner
from app.services.health import Readiness
from app.services.tokens import Tokens
from app.settings import Settings
from app.store.database import Database
from app.store.embedded import EmbeddedPostgres, login_of, postgres_on
from app.store.migrate import upgrade
from app.store.row_security.roles import roles_of
from app.wiring.parts import BrokerParts

# Receivers may be slow, and deliveries are less urgent than operations that callers wait for.
CAPACITY_POOLS = (CapacityPool(frozenset({Kind.DELIVER}), share=0.5),)


@asynccontextmanager
async def running_with_worker(
    settings: Settings, parts: BrokerParts, policy: RetryPolicy | None = None, *, lease: timedelta = LEASE
) -> AsyncIterator[BrokerServices]:
    """Run the services and a worker, which is stopped gracefully at the end."""
    runner = build_runner(settings, parts, policy, lease)
    async with background_tasks(parts), connected_client(parts), asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        stopping = group.create_task(_stop_in_time(parts, runner))
        try:
            yield parts.services
        finally:
            stopping.cancel()
            runner.stop()


async def _stop_in_time(parts: BrokerParts, runner: Runner) -> None:
    # The worker stops while the API drains, not afterwards, so that both have the full stop time.
    await parts.notifications.until_closing()
    runner.stop()


@asynccontextmanager
async def running_without_worker(parts: BrokerParts) -> AsyncIterator[BrokerServices]:
    """Run the services alone; operations wait for a worker in another process.

    The client sends no requests here. Only its processes are used, which parse large manifests.
    """
    async with background_tasks(parts), parts.client:
        yield parts.services


@asynccontextmanager
async def background_tasks(parts: BrokerParts) -> AsyncIterator[None]:
    """Run notifications, deadlines and housekeeping for as long as the block runs."""
    housekeeper = Housekeeper(parts.database, parts.chores)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(each.run())
            for each in (parts.notifications, parts.deadlines, parts.services.revocations, housekeeper)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def connected_client(parts: BrokerParts) -> AsyncIterator[None]:
    """Open the clients while the block runs, and share their budgets with the other workers."""
    async with parts.outbound, parts.client, asyncio.TaskGroup() as group:
        sharing = group.create_task(parts.registries.run())
        try:
            yield
        finally:
            sharing.cancel()


def build_runner(
    settings: Settings, parts: BrokerParts, policy: RetryPolicy | None = None, lease: timedelta = LEASE
) -> Runner:
    return Runner(
        parts.database,
        parts.notifications,
        parts.handlers,
        concurrency=settings.worker_concurrency,
        bulkhead_limit=settings.registry_operations,
        pools=CAPACITY_POOLS,
        project_share=settings.project_share,
        lease=lease,
        beat=lease / 3,
        grace=timedelta(seconds=settings.stop_seconds),
        policy=policy,
    )


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The URLs of the service's role and of the migrating role."""

    service: str
    owner: str


@contextmanager
def database_urls(settings: Settings, *, shared: bool = False) -> Iterator[DatabaseUrls]:
    """The URLs of the external database, or of the embedded one, which runs for as long as the block runs.

    With `shared`, the embedded database may already run for a service; otherwise this process owns it.
    """
    root = settings.data / "postgres"
    if settings.database_url is not None:
        url = settings.database_url
        migrating = settings.migration_database_url or url
        yield DatabaseUrls(url.get_secret_value(), migrating.get_secret_value())
    elif shared:
        with postgres_on(root, binaries=settings.pg_bin) as owner:
            yield DatabaseUrls(login_of(owner, settings.service_role), owner)
    else:
        with EmbeddedPostgres(root, binaries=settings.pg_bin) as server:
            yield DatabaseUrls(login_of(server.url, settings.service_role), server.url)


async def migrate(settings: Settings, urls: DatabaseUrls) -> None:
    await upgrade(urls.owner, service_url=urls.service, service=settings.service_role)


@asynccontextmanager
async def token_service(settings: Settings) -> AsyncIterator[Tokens]:
    """The token service for the command line, which also works beside a running service."""
    async with command_database(settings) as database:
        yield Tokens(database)


@asynccontextmanager
async def command_database(settings: Settings) -> AsyncIterator[Database]:
    """The database for a command, which may run beside the service."""
    with database_urls(settings, shared=True) as urls:
        if settings.embedded:
            await migrate(settings, urls)
        database = Database(urls.service, roles=roles_of(urls.service, settings.service_role), pool_size=1)
        try:
            await Readiness(database).check()
            yield database
        finally:
            await database.dispose()
