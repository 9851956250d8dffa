"""The command keys: rotate the keys that encrypt the stored secrets."""

from __future__ import annotations

import typer
import uvloop

from app import wiring
from app.cli.options import Data, read_settings

cli = typer.Typer(no_args_is_help=True)
INCOMPLETE = 1


@cli.callback()
def keys() -> None:
    """Rotate the keys that encrypt the stored secrets."""


@cli.command()
def rotate(data: Data = None) -> None:
    """Encrypt all stored secrets under the first key of BROKER_SECRET_KEYS. The service may run meanwhile."""
    done = uvloop.run(wiring.rotate_keys(read_settings(data=data)))
    typer.echo(
        f"The secrets of {done.webhooks} webhooks and the credentials of {done.operations} operations were "
        f"encrypted again, under the key {done.first}."
    )
    if done.unreadable:
        typer.echo(
            f"{done.unreadable} secrets can't be decrypted with any key of BROKER_SECRET_KEYS. "
            "Add the key that is missing, or rotate the secrets of these webhooks."
        )
    if done.is_complete:
        if done.others:
            typer.echo(
                f"No stored secret needs these keys any more: {', '.join(done.others)}. Remove them once "
                "every process has been started with the new BROKER_SECRET_KEYS."
            )
        return
    if not done.unreadable:
        typer.echo(
            f"{done.left} rows were encrypted under another key meanwhile. Restart every process with the "
            "new BROKER_SECRET_KEYS, then repeat this command."
        )
    raise typer.Exit(INCOMPLETE)
