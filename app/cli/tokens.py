"""Who may call the service, as its operator arranges it on the machine itself."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer
import uvloop

from app import wiring
from app.cli.options import Data, read_settings

cli = typer.Typer(help="Create, list and revoke the tokens of callers.", no_args_is_help=True)

Project = Annotated[str, typer.Option(help="The project that the token acts in; made if there is none.")]


@cli.command()
def create(
    name: Annotated[str, typer.Argument(help="What the token is for, as it will be listed.")],
    project: Project = "default",
    admin: Annotated[bool, typer.Option("--admin", help="May also make projects and tokens.")] = False,
    data: Data = None,
) -> None:
    """Make a token and print it; it can't be shown again."""
    typer.echo(uvloop.run(wiring.create_token(read_settings(data=data), project, name, admin)))


@cli.command("list")
def list_(data: Data = None) -> None:
    """The tokens that are valid, without their text."""
    for token in uvloop.run(wiring.list_tokens(read_settings(data=data))):
        made = token.created_at.isoformat(timespec="seconds")
        typer.echo(f"{token.id}  {made}  {'admin' if token.admin else '-':5}  {token.project}/{token.name}")


@cli.command()
def revoke(
    token_id: Annotated[UUID, typer.Argument(help="As token list shows it.")], data: Data = None
) -> None:
    """End a token; whoever still has it is refused from now on."""
    uvloop.run(wiring.revoke_token(read_settings(data=data), token_id))
