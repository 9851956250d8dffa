"""The OpenAPI document on paper, and whether the paper is still true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from app.main import openapi_document


def openapi(
    output: Annotated[
        Path | None, typer.Option("--output", help="Write it here.", show_default="stdout")
    ] = None,
    check: Annotated[Path | None, typer.Option("--check", help="Only compare it with this file.")] = None,
) -> None:
    """Print the OpenAPI document of the API."""
    text = f"{json.dumps(openapi_document(), indent=2, ensure_ascii=False)}\n"
    if check is not None:
        _compare(text, check)
    elif output is not None:
        output.write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)


def _compare(text: str, path: Path) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        typer.echo(f"{path} is not the API's document any more: run scripts/openapi", err=True)
        raise typer.Exit(1)
