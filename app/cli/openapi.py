"""The command openapi: print the OpenAPI document, or compare it with a file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from app.api.app import AppOptions, create_app
from app.api.dependencies import BrokerServices
from app.wiring import broker_version


def print_openapi(
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the document to this file.", show_default="stdout")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", help="Fail if this file differs."),
    ] = None,
) -> None:
    """Print the OpenAPI document of the API."""
    text = f"{json.dumps(openapi_document(), indent=2, ensure_ascii=False)}\n"
    if check is not None:
        _compare(text, check)
    elif output is not None:
        output.write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document; it needs no running service."""
    return create_app(_no_services, AppOptions(max_body_bytes=1), version=broker_version()).openapi()


def _compare(text: str, path: Path) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        typer.echo(f"{path} differs from the API. Run scripts/openapi.", err=True)
        raise typer.Exit(1)


@asynccontextmanager
async def _no_services() -> AsyncIterator[BrokerServices]:
    yield _refuse()


def _refuse() -> BrokerServices:
    raise RuntimeError("This application only serves its OpenAPI document.")
