"""ETags and If-Match (RFC 9110 §13)."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header

from app.errors import FieldError, InvalidHeader, RevisionChanged

_TAG = re.compile(r'"([0-9]{1,9})"', re.ASCII)
_LIST = re.compile(r'\s*(?:W/)?"[\x21\x23-\x7e]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e]*"\s*)*', re.ASCII)


def etag(revision: int) -> str:
    return f'"{revision}"'


def parse_if_match(header: str | None) -> int | None:
    """The revision that the caller saw; None when any will do.

    A well-formed tag that is none of ours matches nothing (§13.1.1).
    """
    if header is None or header.strip() == "*":
        return None
    if not _LIST.fullmatch(header):
        detail = 'If-Match takes the ETag of the list, such as "3"'
        raise InvalidHeader(detail, errors=[FieldError("header:If-Match", detail)])
    match = _TAG.fullmatch(header.strip())
    if match is None:
        raise RevisionChanged("If-Match has no ETag that this list ever had; send the one of GET")
    return int(match[1])


def _if_match(
    if_match: Annotated[
        str | None,
        Header(alias="If-Match", description="Only if the list still has this ETag.", examples=['"3"']),
    ] = None,
) -> int | None:
    return parse_if_match(if_match)


IfMatchDep = Annotated[int | None, Depends(_if_match)]
