"""Combines the options of the command line with the settings of the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from app.errors import as_sentence
from app.settings import Settings

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="The directory of the embedded Postgres and of the secret key.", show_default=".broker"
    ),
]


def read_settings(**given: object) -> Settings:
    """The settings; options of the command line take precedence over the environment."""
    return Settings.model_validate({**{name: value for name, value in given.items() if value is not None}})


def describe(error: ValidationError) -> str:
    """One line for each invalid setting, with the name of its environment variable."""
    lines = [f"  {_name(item['loc'])}: {_message(item['msg'])}" for item in error.errors()]
    return "\n".join(["The settings are not valid.", *lines])


def _message(text: str) -> str:
    return as_sentence(text.removeprefix("Value error, "))


def _name(place: tuple[int | str, ...]) -> str:
    field, *inside = (str(part) for part in place or ("settings",))
    variable = field if field == "DATABASE_URL" else f"BROKER_{field.upper()}"
    return ".".join([variable, *inside])
