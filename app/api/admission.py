"""Checks that every /v1 request passes before its body is read: caller, query parameters, media type."""

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
    """Authenticates first. FastAPI would parse the body first and report its errors to anyone."""

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
        # Each parameter knows whether it is in the query.
        places = ((field.alias, getattr(field.field_info, "in_", None)) for field in fields)
        return frozenset(name for name, place in places if place is ParamTypes.query)


class Router(APIRouter):
    """A router whose routes need a valid token."""

    def __init__(self, *, prefix: str, tags: list[str]) -> None:
        super().__init__(prefix=prefix, tags=[*tags], route_class=_Route)


def _check_query(request: Request, known: frozenset[str]) -> None:
    """Reject unknown parameters by name, because a misspelt filter would match everything."""
    unknown = [name[:_LONGEST_NAME] for name in request.query_params if name not in known]
    if unknown:
        accepted = f"It accepts {', '.join(sorted(known))}." if known else "It accepts none."
        raise InvalidInput(
            f"This call has no query parameter {unknown[0]}. {accepted}",
            errors=[FieldError(f"query:{name}", "This call has no such parameter.") for name in unknown],
        )


def _check_body(request: Request) -> None:
    length, most = request.headers.get("content-length", "0"), request.app.state.max_body_bytes
    if int(length) > most:
        raise BodyTooLarge(f"The body has {length} bytes. This broker accepts at most {most} bytes.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedBody("Send the body uncompressed, without Content-Encoding.")
    # Transfer-Encoding announces a body whose length is not known yet (RFC 9112, section 6.1).
    has_body = length != "0" or "transfer-encoding" in request.headers
    if request.method not in _WITH_BODY or not has_body:
        return
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent not in _JSON:
        raise UnsupportedBody(
            f"The Content-Type is {sent or 'missing'}. Send JSON as application/json (curl --json)."
        )
