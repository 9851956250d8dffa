"""Checks that every /v1 request passes before its body is read: caller, query parameters, media type."""

from __future__ import annotations

import copy
from collections.abc import Callable, Coroutine, Iterable
from time import monotonic
from typing import Any, NoReturn

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Scope

from app.api.dependencies import identify
from app.errors import BodyTooLarge, MalformedBody, UnsupportedBody
from app.oci.text import shown

__all__ = ["UNKNOWN_PARAMETER", "Router", "literal_paths"]

_WITH_BODY = frozenset({"POST", "PATCH", "PUT"})
_JSON = frozenset({"application/json", "application/merge-patch+json"})
_LONGEST_NAME = 64
UNKNOWN_PARAMETER = "unknown_parameter"
REVIEWED_AFTER_SECONDS = 1.0

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _Route(APIRoute):
    """Authenticates first. FastAPI would parse the body first and report its errors to anyone."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Do not match a resource path against a literal path such as /v1/lists/delete."""
        if "{" in self.path and scope["path"] in scope["app"].state.literal_paths:
            return Match.NONE, {}
        return super().matches(scope)

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        validate = self._validation()
        known = self._query_names()

        async def admit(request: Request) -> Response:
            request.state.caller = await identify(request)
            if _check_body(request):
                await _receive_body(request)
            unknown = [*_find_unknown(request, known), *await self._find_null(request)]
            if not unknown:
                return await handle(request)
            # The other mistakes of the request are reported as well.
            try:
                return await validate(request)
            except RequestValidationError as error:
                raise RequestValidationError([*unknown, *error.errors()], body=error.body) from None

        return admit

    def _validation(self) -> Handler:
        """A handler that only validates a request, and then fails without a mistake of its own."""
        route = copy.copy(self)
        route.dependant = copy.copy(self.dependant)
        route.dependant.call = _refuse
        return super(_Route, route).get_route_handler()

    async def _find_null(self, request: Request) -> list[dict[str, Any]]:
        """Report a null body, which FastAPI would take for an optional body that was not sent."""
        if self.body_field is None or self.body_field.field_info.is_required():
            return []
        try:
            is_null = bool(await request.body()) and await request.json() is None
        except (ValueError, RecursionError):
            # FastAPI reports it.
            return []
        return [{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}] * is_null

    def _query_names(self) -> frozenset[str]:
        fields = get_flat_params(self.dependant)
        # Each parameter knows whether it is in the query.
        places = ((field.alias, getattr(field.field_info, "in_", None)) for field in fields)
        return frozenset(name for name, place in places if place is ParamTypes.query)


class Router(APIRouter):
    """A router whose routes need a valid token."""

    def __init__(self, *, prefix: str, tags: list[str]) -> None:
        super().__init__(prefix=prefix, tags=[*tags], route_class=_Route)


def literal_paths(routers: Iterable[APIRouter]) -> frozenset[str]:
    """The paths without parameters."""
    paths = (route.path for router in routers for route in router.routes if isinstance(route, APIRoute))
    return frozenset(path for path in paths if "{" not in path)


async def _refuse(**_values: Any) -> NoReturn:
    raise RequestValidationError([])


def _find_unknown(request: Request, known: frozenset[str]) -> list[dict[str, Any]]:
    """Unknown parameters are rejected by name, because a misspelt filter would match everything."""
    unknown = [name[:_LONGEST_NAME] for name in request.query_params if name not in known]
    accepted = f"It accepts {', '.join(sorted(known))}." if known else "It accepts none."
    return [
        {
            "type": UNKNOWN_PARAMETER,
            "loc": ("query", name),
            "msg": f"This call has no query parameter {shown(name)}. {accepted}",
        }
        for name in unknown
    ]


async def _receive_body(request: Request) -> None:
    """Wait for the body. After a long wait, authenticate again, because the token may have been revoked."""
    began = monotonic()
    try:
        await request.body()
    except ClientDisconnect:
        raise MalformedBody("The body ended too soon. Send all of it.") from None
    if monotonic() - began > REVIEWED_AFTER_SECONDS:
        request.state.caller = await identify(request)


def _check_body(request: Request) -> bool:
    """Whether the request has a body that the call reads."""
    length, most = request.headers.get("content-length", "0"), request.app.state.max_body_bytes
    if int(length) > most:
        raise BodyTooLarge(f"The body has {length} bytes. This broker accepts at most {most} bytes.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedBody("Send the body uncompressed, without Content-Encoding.")
    # Transfer-Encoding announces a body whose length is not known yet (RFC 9112, section 6.1).
    has_body = length != "0" or "transfer-encoding" in request.headers
    if request.method not in _WITH_BODY or not has_body:
        return False
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent not in _JSON:
        raise UnsupportedBody(
            f"The Content-Type is {sent or 'missing'}. Send JSON as application/json (curl --json)."
        )
    return True
