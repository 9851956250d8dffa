"""The functions that the command line starts."""

from __future__ import annotations

import asyncio
import signal
from datetime import datetime
from uuid import UUID

from app.logs import configure_logging
from app.projects.tokens import Token
from app.services.keys import KeyRotation, Keys
from app.settings import Settings
from app.wiring.file_limits import raise_file_limit
from app.wiring.lifecycle import (
    background_tasks,
    build_runner,
    command_database,
    connected_client,
    database_urls,
    migrate,
    token_service,
)
from app.wiring.parts import build_parts, secret_box
from app.wiring.server import Announce, freeze_garbage_collector, serve


async def run_api_and_worker(settings: Settings, *, announce: Announce) -> None:
    """Run the API and a worker in one process, with an external or the embedded database."""
    configure_logging(settings.log_level, settings.log_format)
    raise_file_limit()
    with database_urls(settings) as urls:
        await migrate(settings, urls)
        await serve(settings, build_parts(settings, urls.service), announce, with_worker=True)


async def run_api(settings: Settings, *, announce: Announce) -> None:
    """Run the API alone; workers run in other processes."""
    configure_logging(settings.log_level, settings.log_format)
    raise_file_limit()
    with database_urls(settings) as urls:
        await serve(settings, build_parts(settings, urls.service), announce, with_worker=False)


async def run_worker(settings: Settings) -> None:
    """Run operations until a signal stops the process."""
    configure_logging(settings.log_level, settings.log_format)
    raise_file_limit()
    with database_urls(settings) as urls:
        parts = build_parts(settings, urls.service)
        runner = build_runner(settings, parts)
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, runner.stop)
        freeze_garbage_collector()
        try:
            async with background_tasks(parts), connected_client(parts):
                await runner.run()
        finally:
            await parts.database.dispose()


async def run_migrations(settings: Settings) -> None:
    """Migrate the database to this version's schema, and create the service's roles."""
    with database_urls(settings) as urls:
        await migrate(settings, urls)


async def rotate_keys(settings: Settings) -> KeyRotation:
    """Re-encrypt the stored secrets under the first key of the ring."""
    async with command_database(settings) as database:
        return await Keys(database, secret_box(settings)).rotate()


async def create_token(
    settings: Settings, project: str, name: str, admin: bool, expires_at: datetime | None
) -> str:
    """Create a token and return its text; create its project if it does not exist."""
    async with token_service(settings) as tokens:
        await tokens.ensure_project(project)
        _, text = await tokens.create(project, name, admin=admin, expires_at=expires_at)
        return text


async def list_tokens(settings: Settings) -> list[Token]:
    async with token_service(settings) as tokens:
        return await tokens.live()


async def revoke_token(settings: Settings, token_id: UUID) -> None:
    async with token_service(settings) as tokens:
        await tokens.revoke(token_id)
