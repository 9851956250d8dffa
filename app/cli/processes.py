"""The processes of the service: the API with its worker, workers alone, and the migration before them."""

from __future__ import annotations

from typing import Annotated

import typer
import uvloop

from app import wiring
from app.cli.options import Data, read_settings
from app.errors import InvalidInput


def serve(
    host: Annotated[
        str | None, typer.Option(help="Where to listen.", show_default="BROKER_HOST or 127.0.0.1")
    ] = None,
    port: Annotated[int | None, typer.Option(show_default="BROKER_PORT or 8080")] = None,
    data: Data = None,
    worker: Annotated[bool, typer.Option(help="Run operations in this process too.")] = True,
) -> None:
    """Serve the API, and run its operations in the same process."""
    settings = read_settings(host=host, port=port, data=data)
    if worker:
        uvloop.run(wiring.run_api_and_worker(settings, announce=typer.echo))
        return
    if settings.embedded:
        raise InvalidInput("serve --no-worker needs DATABASE_URL: nobody else could run what it accepts")
    uvloop.run(wiring.run_api(settings, announce=typer.echo))


def worker() -> None:
    """Run operations only; as many of these as wanted, on as many machines, with one DATABASE_URL."""
    settings = read_settings()
    if settings.embedded:
        raise InvalidInput("worker needs DATABASE_URL; without one, serve runs the operations itself")
    uvloop.run(wiring.run_worker(settings))


def migrate(data: Data = None) -> None:
    """Bring the database to the newest schema; does nothing when it is there."""
    uvloop.run(wiring.run_migrations(read_settings(data=data)))
