"""What is asked of a request before its body is read: who sends it, and that nothing about it is unknown."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute

from app.api.dependencies import identify
from app.errors import BodyTooLarge, FieldError, InvalidInput, UnsupportedBody

__all__ = ["Router"]

_WITH_BODY = frozenset({"POST", "PATCH", "PUT"})
_JSON = frozenset({"application/json", "application/merge-patch+json"})
_LONGEST_NAME = 64


class _Route(APIRoute):
    """FastAPI by itself parses a body first: strangers would be told what is wrong with theirs."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = self._query_names()

        async def admit(request: Request) -> Response:
            request.state.caller = await identify(request)
            _check_query(request, known)
            _check_body(request)
            return await handle(request)

        return admit

    def _query_names(self) -> frozenset[str]:
        fields = get_flat_params(self.dependant)
        # Every parameter says where it is.
        places = ((field.alias, getattr(field.field_info, "in_", None)) for field in fields)
        return frozenset(name for name, place in places if place is ParamTypes.query)


class Router(APIRouter):
    """Routes for callers who are known."""

    def __init__(self, *, prefix: str, tags: list[str]) -> None:
        super().__init__(prefix=prefix, tags=[*tags], route_class=_Route)


def _check_query(request: Request, known: frozenset[str]) -> None:
    """A filter that is spelt wrong must not pass for one that matches everything."""
    unknown = [name[:_LONGEST_NAME] for name in request.query_params if name not in known]
    if unknown:
        taken = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
        raise InvalidInput(
            f"This call has no query parameter {unknown[0]}: {taken}",
            errors=[FieldError(f"query:{name}", "There is no such parameter here") for name in unknown],
        )


def _check_body(request: Request) -> None:
    length, most = request.headers.get("content-length", "0"), request.app.state.max_body_bytes
    if int(length) > most:
        raise BodyTooLarge(f"The body has {length} bytes; this broker accepts {most}")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedBody("Send the body as it is, without Content-Encoding")
    # A body of a length that is not known yet is announced so (RFC 9112, section 6.1).
    has_body = length != "0" or "transfer-encoding" in request.headers
    if request.method not in _WITH_BODY or not has_body:
        return
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent not in _JSON:
        raise UnsupportedBody(
            f"The body is sent as {sent or 'nothing'}: send JSON as application/json, with curl by --json"
        )
