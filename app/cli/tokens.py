"""The command token: create, list and revoke tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer
import uvloop

from app import wiring
from app.cli.options import Data, read_settings

cli = typer.Typer(help="Create, list and revoke the tokens of callers.", no_args_is_help=True)

Project = Annotated[str, typer.Option(help="The project of the token. It is created if it does not exist.")]


@cli.command()
def create(
    name: Annotated[str, typer.Argument(help="The name of the token in listings.")],
    project: Project = "default",
    admin: Annotated[bool, typer.Option("--admin", help="Let the token create projects and tokens.")] = False,
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=36_500, help="Let the token expire after so many days.")
    ] = None,
    data: Data = None,
) -> None:
    """Create a token and print it. It can't be shown again."""
    expires_at = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    typer.echo(uvloop.run(wiring.create_token(read_settings(data=data), project, name, admin, expires_at)))


@cli.command("list")
def list_(data: Data = None) -> None:
    """List the valid tokens without their text."""
    for token in uvloop.run(wiring.list_tokens(read_settings(data=data))):
        made = token.created_at.isoformat(timespec="seconds")
        typer.echo(f"{token.id}  {made}  {'admin' if token.admin else '-':5}  {token.project}/{token.name}")


@cli.command()
def revoke(
    token_id: Annotated[UUID, typer.Argument(help="The id of the token, from token list.")],
    data: Data = None,
) -> None:
    """Revoke a token immediately."""
    uvloop.run(wiring.revoke_token(read_settings(data=data), token_id))
