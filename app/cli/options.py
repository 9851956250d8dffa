"""Settings as the command line and the environment give them together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from app.settings import Settings

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Where the embedded Postgres and the secret key live.", show_default=".broker"
    ),
]


def read_settings(**given: object) -> Settings:
    """What was said on the command line comes first, then the environment."""
    return Settings.model_validate({**{name: value for name, value in given.items() if value is not None}})


def describe(error: ValidationError) -> str:
    """One line for each setting that can't be used, under the name the operator knows it by."""
    lines = [f"{_name(item['loc'])}: {item['msg'].removeprefix('Value error, ')}" for item in error.errors()]
    return "\n".join(["the settings can't be used", *(f"  {line}" for line in lines)])


def _name(place: tuple[int | str, ...]) -> str:
    field, *inside = (str(part) for part in place or ("settings",))
    variable = field if field == "DATABASE_URL" else f"BROKER_{field.upper()}"
    return ".".join([variable, *inside])
