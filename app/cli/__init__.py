"""The command manifest-broker: serve, worker, migrate, token, keys and openapi."""

from __future__ import annotations

import sys

import typer
from pydantic import ValidationError

from app.cli import keys, openapi, processes, tokens
from app.cli.options import describe
from app.errors import BrokerError
from app.wiring import EmbeddedPostgresError

__all__ = ["main"]

WRONG_USAGE = 2

cli = typer.Typer(
    name="manifest-broker",
    help="docker manifest as a service. Settings are the environment variables BROKER_… and DATABASE_URL.",
    no_args_is_help=True,
    add_completion=False,
    # A pretty traceback prints local variables, which include secrets.
    pretty_exceptions_enable=False,
)
cli.command()(processes.serve)
cli.command()(processes.worker)
cli.command()(processes.migrate)
cli.command("openapi")(openapi.print_openapi)
cli.add_typer(tokens.cli, name="token")
cli.add_typer(keys.cli, name="keys")


def main() -> None:
    """Run the command. Errors that the operator can correct print one message without a traceback."""
    try:
        cli()
    except ValidationError as error:
        _fail(describe(error), WRONG_USAGE)
    except (BrokerError, EmbeddedPostgresError) as error:
        _fail(str(error), 1)


def _fail(text: str, status: int) -> None:
    typer.echo(f"manifest-broker: {text}", err=True)
    sys.exit(status)
