"""References as they stand in queries and bodies."""

from __future__ import annotations

from app.lists.source import at
from app.oci.reference import Reference, parse_reference


def parse_at(text: str, pointer: str) -> Reference:
    """The reference; the error says where it stood."""
    with at(pointer):
        return parse_reference(text)


def canonical_query(reference: str | None) -> str | None:
    """What a listing's filter `reference` looks for."""
    return str(parse_at(reference, "query:reference")) if reference is not None else None
