"""References in queries."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from app.api.schemas.checks import checked
from app.api.schemas.common import Text
from app.oci.reference import parse_reference

ReferenceQuery = Annotated[
    Text | None, Query(description="A reference in any form that Docker accepts."), checked(parse_reference)
]


def canonical(reference: str | None) -> str | None:
    """The normalized form of the filter `reference`."""
    return str(parse_reference(reference)) if reference is not None else None
