"""Query parameters that filter listings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime

from app.errors import FieldError, InvalidInput

LabelQuery = Annotated[
    list[str] | None, Query(description="`name=value`. Repeat it to require several labels.")
]


def _in_utc(moment: datetime) -> datetime:
    """The moment in UTC; at the edges of the calendar the conversion overflows."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("The time is out of range in UTC.") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
SinceQuery = Annotated[
    Moment | None, Query(description="Created at this time or later (RFC 3339 with an offset).")
]
UntilQuery = Annotated[
    Moment | None, Query(description="Created before this time (RFC 3339 with an offset).")
]


def parse_labels(texts: list[str] | None) -> dict[str, str]:
    return dict(_parse_label(text) for text in texts or ())


def _parse_label(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name or "\0" in text:
        detail = "A label filter must have the form name=value."
        raise InvalidInput(detail, errors=[FieldError("query:label", detail)])
    return name, value
