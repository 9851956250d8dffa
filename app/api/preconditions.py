"""ETags and If-Match (RFC 9110 §13)."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header

from app.errors import FieldError, InvalidHeader

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"', re.ASCII)
_OURS = re.compile(r'"([0-9]{1,9})"', re.ASCII)


def etag(revision: int) -> str:
    return f'"{revision}"'


def parse_if_match(header: str | None) -> frozenset[int] | None:
    """The revisions that the caller would change; None when any will do.

    Well-formed tags that are none of ours match nothing (§13.1.1), and so do weak ones.
    """
    if header is None or header.strip() == "*":
        return None
    tags = [tag.strip() for tag in header.split(",")]
    if not all(_TAG.fullmatch(tag) for tag in tags):
        detail = 'If-Match takes the ETag of the list, such as "3"'
        raise InvalidHeader(detail, errors=[FieldError("header:If-Match", detail)])
    return frozenset(int(ours[1]) for tag in tags if (ours := _OURS.fullmatch(tag)))


def _if_match(
    if_match: Annotated[
        str | None,
        Header(alias="If-Match", description="Only if the list still has this ETag.", examples=['"3"']),
    ] = None,
) -> frozenset[int] | None:
    return parse_if_match(if_match)


IfMatchDep = Annotated[frozenset[int] | None, Depends(_if_match)]
