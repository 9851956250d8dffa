"""Pagination with opaque cursors and links (RFC 8288)."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query, Request, Response

from app.api.addresses import address
from app.api.filters import WholeNumber
from app.api.schemas.checks import checked
from app.api.schemas.common import dump_json
from app.errors import FieldError, InvalidCursor
from app.projects.paging import Position

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
# The maximum size of a page in bytes. A single larger item still gets a page.
PAGE_BYTES = 2 * 1_048_576
FIRST_STEP = 8
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


async def page_response(
    request: Request,
    fetch: Callable[[Position | None, int], Awaitable[Sequence[P]]],
    limit: int,
    document: Callable[[P], dict[str, Any]],
    *,
    before: Position | None,
) -> Response:
    """A page of at most `limit` items, newest first. `fetch` returns items before a given position."""

    def place(item: P) -> Position | None:
        return (item.created_at, item.id) if item.created_at is not None else None

    return await _page(request, fetch, limit, before, document=document, place=place)


async def numbered_page_response(
    request: Request,
    fetch: Callable[[int | None, int], Awaitable[Sequence[N]]],
    limit: int,
    document: Callable[[N], dict[str, Any]],
    *,
    before: int | None,
) -> Response:
    """A page of at most `limit` numbered items."""
    return await _page(request, fetch, limit, before, document=document, place=lambda item: item.id)


async def _page(
    request: Request,
    fetch: Callable[[Any, int], Awaitable[Sequence[T]]],
    limit: int,
    before: Position | int | None,
    *,
    document: Callable[[T], dict[str, Any]],
    place: Callable[[T], Position | int | None],
) -> Response:
    """Fetch a few items at a time, because a page ends early at its maximum size in bytes."""
    page, has_more = _Items(), True
    while has_more and page.step(limit):
        step = page.step(limit)
        found = await fetch(before, step + 1)
        has_more = len(found) > step
        for item in found[:step]:
            if not page.add(dump_json(document(item))):
                has_more = True
                break
            before = place(item)
    return _respond(request, page.rendered, before if has_more else None)


class _Items:
    """The rendered items of a page. The first item is always included, even if it exceeds the limit."""

    def __init__(self) -> None:
        self.rendered: list[bytes] = []
        self._size = self._largest = 0
        self._is_full = False

    def add(self, item: bytes) -> bool:
        """Return whether the page had room for the item."""
        if self.rendered and self._size + len(item) > PAGE_BYTES:
            self._is_full = True
            return False
        self.rendered.append(item)
        self._size += len(item)
        self._largest = max(self._largest, len(item))
        return True

    def step(self, limit: int) -> int:
        """The number of items to fetch next, judging by the room left and the largest item so far."""
        if self._is_full:
            return 0
        room = FIRST_STEP if not self.rendered else (PAGE_BYTES - self._size) // max(self._largest, 1) + 1
        return min(room, limit - len(self.rendered))


def _respond(request: Request, items: Sequence[bytes], after: Position | int | None) -> Response:
    """`after` is the position of the last item, if a next page exists."""
    cursor = encode_cursor(after) if after is not None else None
    headers = {}
    if cursor is not None:
        kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        query = urlencode([*kept, ("cursor", cursor)])
        headers["Link"] = f'<{address(request.scope["path"])}?{query}>; rel="next"'
    body = b'{"items":[%b],"next_cursor":%b}' % (b",".join(items), json.dumps(cursor).encode())
    return Response(body, headers=headers, media_type="application/json")
