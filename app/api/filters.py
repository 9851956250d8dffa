"""Query parameters that filter listings."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from app.api.schemas.checks import checked
from app.errors import InvalidInput
from app.errors.collecting import Mistakes
from app.oci.text import shown

# Pydantic would also take a number, such as 0.5, for the seconds since 1970.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)", re.ASCII)


def _check_form(sent: object) -> object:
    if not isinstance(sent, str) or not _TIME.fullmatch(sent):
        raise ValueError("Send a time with an offset, such as 2026-07-01T12:00:00Z.")
    return sent


def _in_utc(moment: datetime) -> datetime:
    """The moment in UTC; at the edges of the calendar the conversion overflows."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("The time is out of range in UTC.") from None


_DIGITS = re.compile(r"-?[0-9]+", re.ASCII)


def _check_digits(sent: object) -> object:
    if isinstance(sent, str) and not _DIGITS.fullmatch(sent):
        raise ValueError("Send a whole number.")
    return sent


WholeNumber = Annotated[int, BeforeValidator(_check_digits)]
Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_check_form), AfterValidator(_in_utc)]
SinceQuery = Annotated[
    Moment | None, Query(description="Created at this time or later (RFC 3339 with an offset).")
]
UntilQuery = Annotated[
    Moment | None, Query(description="Created before this time (RFC 3339 with an offset).")
]


def parse_labels(texts: list[str] | None) -> dict[str, str]:
    mistakes = Mistakes()
    labels = {}
    for text in texts or ():
        with mistakes.at("query:label"):
            name, value = _parse_label(text)
            labels[name] = value
    mistakes.raise_all()
    return labels


def _parse_label(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name or "\0" in text:
        raise InvalidInput(f'The label filter "{shown(text, 64)}" must have the form name=value.')
    return name, value


LabelQuery = Annotated[
    list[str] | None,
    Query(description="`name=value`. Repeat it to require several labels."),
    checked(parse_labels),
]
