"""ETags, If-Match and If-None-Match (RFC 9110 §13)."""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response

from app.api.openapi.response_headers import header as announced
from app.api.schemas.checks import checked
from app.errors import FieldError, InvalidHeader

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"', re.ASCII)
_OURS = re.compile(r'"([0-9]{1,9})(?:-[0-9a-f]{16})?"', re.ASCII)


def etag(revision: int, shown: bytes | None = None) -> str:
    """The ETag of a revision; with `shown`, also of the exact response.

    The state of a list changes without its revision. If-Match compares the revision only.
    """
    return f'"{revision}"' if shown is None else f'"{revision}-{hashlib.sha256(shown).hexdigest()[:16]}"'


def unless_known(request: Request, response: Response) -> Response:
    """304 if the caller already has this response; ETags are compared weakly (§13.1.2)."""
    sent = request.headers.get("If-None-Match")
    if sent is None:
        return response
    tags = {tag.strip().removeprefix("W/") for tag in sent.split(",")}
    if not tags & {"*", response.headers["ETag"]}:
        return response
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": response.headers["ETag"]})


def parse_if_match(header: str | None) -> frozenset[int] | None:
    """The revisions that the caller accepts; None accepts any.

    Weak ETags and ETags that the broker never issues match nothing (§13.1.1).
    """
    if header is None or header.strip() == "*":
        return None
    tags = [tag.strip() for tag in header.split(",")]
    if not all(_TAG.fullmatch(tag) for tag in tags):
        detail = 'If-Match must be the ETag of the list, such as "3".'
        raise InvalidHeader(detail, errors=[FieldError("header:If-Match", detail)])
    return frozenset(int(ours[1]) for tag in tags if (ours := _OURS.fullmatch(tag)))


def _if_match(
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match", description="Change the list only if it still has this ETag.", examples=['"3"']
        ),
        checked(parse_if_match),
    ] = None,
) -> frozenset[int] | None:
    return parse_if_match(if_match)


NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The resource still has the ETag in `If-None-Match`.", "headers": announced("ETag")}
}
# `unless_known` reads the header; this parameter documents it.
IfNoneMatchDep = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        description="Respond with `304` if the resource still has this ETag.",
        examples=['"3"'],
    ),
]
IfMatchDep = Annotated[frozenset[int] | None, Depends(_if_match)]
