"""Parses references in queries and bodies."""

from __future__ import annotations

from app.lists.source import at
from app.oci.reference import Reference, parse_reference


def parse_at(text: str, pointer: str) -> Reference:
    """The parsed reference; an error names its location."""
    with at(pointer):
        return parse_reference(text)


def canonical_query(reference: str | None) -> str | None:
    """The normalized form of the filter `reference`."""
    return str(parse_at(reference, "query:reference")) if reference is not None else None
