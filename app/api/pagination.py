"""Pagination with opaque cursors and links (RFC 8288)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query, Request
from fastapi.responses import JSONResponse

from app.api.addresses import address
from app.api.filters import WholeNumber
from app.api.schemas.checks import checked
from app.errors import FieldError, InvalidCursor
from app.projects.paging import Position

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_CURSOR = "The `next_cursor` of the previous page."
LARGEST_NUMBER = 2**63 - 1

T = TypeVar("T")


class Placed(Protocol):
    """An item that is ordered by its time of creation."""

    @property
    def created_at(self) -> datetime | None: ...

    @property
    def id(self) -> UUID: ...


class Numbered(Protocol):
    @property
    def id(self) -> int: ...


P = TypeVar("P", bound=Placed)
N = TypeVar("N", bound=Numbered)


LimitQuery = Annotated[
    WholeNumber, Query(ge=1, le=MAX_LIMIT, description="The maximum number of items per page.")
]


def encode_cursor(position: Position | int) -> str:
    parts = [position] if isinstance(position, int) else [position[0].isoformat(), str(position[1])]
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def parse_cursor(text: str | None) -> Position | None:
    return _parse(text, _read_position) if text is not None else None


def parse_number_cursor(text: str | None) -> int | None:
    """The cursor of a listing whose items are numbered."""
    return _parse(text, _read_number) if text is not None else None


def _read_position(parts: Any) -> Position | None:
    moment, identity = parts
    place = datetime.fromisoformat(moment)
    return (place.astimezone(UTC), UUID(identity)) if place.tzinfo else None


def _read_number(parts: Any) -> int | None:
    (number,) = parts
    # In Python, bool is a subclass of int.
    return number if type(number) is int and 0 <= number <= LARGEST_NUMBER else None


def _parse(text: str, read: Callable[[Any], T | None]) -> T:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        position = read(json.loads(raw))
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        # binascii.Error and JSONDecodeError are ValueErrors; an offset may overflow the calendar.
        position = None
    if position is None:
        detail = "Send the next_cursor of the previous page unchanged."
        raise InvalidCursor(detail, errors=[FieldError("query:cursor", detail)])
    return position


CursorQuery = Annotated[str | None, Query(description=_CURSOR, max_length=512), checked(parse_cursor)]
NumberCursorQuery = Annotated[
    str | None, Query(description=_CURSOR, max_length=512), checked(parse_number_cursor)
]


def page_response(
    request: Request, found: Sequence[P], limit: int, document: Callable[[P], dict[str, Any]]
) -> JSONResponse:
    """A page of at most `limit` items; `found` has one more item if a next page exists."""
    last = found[limit - 1] if len(found) > limit else None
    at = (last.created_at, last.id) if last is not None and last.created_at is not None else None
    return _page(request, [document(each) for each in found[:limit]], at)


def numbered_page_response(
    request: Request, found: Sequence[N], limit: int, document: Callable[[N], dict[str, Any]]
) -> JSONResponse:
    """A page of at most `limit` numbered items."""
    at = found[limit - 1].id if len(found) > limit else None
    return _page(request, [document(each) for each in found[:limit]], at)


def _page(request: Request, items: list[dict[str, Any]], after: Position | int | None) -> JSONResponse:
    """`after` is the position of the last item, if a next page exists."""
    cursor = encode_cursor(after) if after is not None else None
    headers = {}
    if cursor is not None:
        kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        query = urlencode([*kept, ("cursor", cursor)])
        headers["Link"] = f'<{address(request.scope["path"])}?{query}>; rel="next"'
    return JSONResponse({"items": items, "next_cursor": cursor}, headers=headers)
