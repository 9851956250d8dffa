"""The commands serve, worker and migrate."""

from __future__ import annotations

from typing import Annotated

import typer
import uvloop

from app import wiring
from app.cli.options import Data, read_settings
from app.errors import InvalidInput


def serve(
    host: Annotated[
        str | None, typer.Option(help="The address to listen on.", show_default="BROKER_HOST or 127.0.0.1")
    ] = None,
    port: Annotated[int | None, typer.Option(show_default="BROKER_PORT or 8080")] = None,
    data: Data = None,
    worker: Annotated[bool, typer.Option(help="Run operations in this process as well.")] = True,
) -> None:
    """Serve the API and run its operations in the same process."""
    settings = read_settings(host=host, port=port, data=data)
    if worker:
        uvloop.run(wiring.run_api_and_worker(settings, announce=typer.echo))
        return
    if settings.embedded:
        raise InvalidInput(
            "The command serve --no-worker needs DATABASE_URL. Workers can't use the embedded Postgres."
        )
    uvloop.run(wiring.run_api(settings, announce=typer.echo))


def worker() -> None:
    """Run operations only. Start any number of workers, on any number of machines, with one DATABASE_URL."""
    settings = read_settings()
    if settings.embedded:
        raise InvalidInput(
            "The command worker needs DATABASE_URL. Without it, use serve, which also runs operations."
        )
    uvloop.run(wiring.run_worker(settings))


def migrate(data: Data = None) -> None:
    """Migrate the database to the schema of this version. Does nothing if it is current."""
    uvloop.run(wiring.run_migrations(read_settings(data=data)))
