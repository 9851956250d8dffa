"""Problems on the wire: how every error leaves the API, and how the OpenAPI document announces it."""

from __future__ import annotations

import logging
from collections import defaultdict
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app import errors
from app.api.problem_documents import MEDIA_TYPE, document_of, status_of
from app.api.schemas.problem import Problem
from app.errors import BrokerError, FieldError

logger = logging.getLogger(__name__)

# Every call under /v1 can be answered these.
COMMON = (
    errors.Unauthenticated,
    errors.InvalidInput,
    errors.InvalidHeader,
    errors.Unavailable,
    BrokerError,
)
BODY = (
    errors.MalformedBody,
    errors.BodyTooLarge,
    errors.UnsupportedBody,
    errors.IdempotencyMismatch,
    errors.InvalidReference,
)
# Every call that waits for a registry.
REGISTRY = (
    errors.RegistryError,
    errors.SourceNotFound,
    errors.RegistryDenied,
    errors.RateLimited,
    errors.RegistryUnavailable,
    errors.RegistryUnreachable,
    errors.RegistryTimeout,
    errors.RegistryTlsFailed,
    errors.NotARegistry,
    errors.RegistryForbidden,
    errors.InsecureForbidden,
    errors.UntrustedOrigin,
    errors.OperationCancelled,
    errors.AttemptsExhausted,
    errors.CredentialUnreadable,
)
SOURCES = (
    errors.InvalidReference,
    errors.InvalidPlatform,
    errors.InvalidAnnotation,
    errors.SourceUnsupported,
    errors.SourceInvalid,
    errors.SourceTooLarge,
    errors.DigestMismatch,
    errors.SourcesFailed,
    errors.SourceUnusable,
)


def response_of(error: BrokerError, instance: str | None = None) -> JSONResponse:
    headers = {}
    status = status_of(type(error))
    if error.retry_after is not None:
        # RFC 9110 §10.2.3 knows whole seconds only; rounding up never comes too early.
        headers["Retry-After"] = str(max(0, -int(-error.retry_after // 1)))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="manifest-broker"'
    return JSONResponse(document_of(error, instance), status, headers, MEDIA_TYPE)


def problems(*kinds: type[BrokerError]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a route that can fail in these ways, with an example of each."""
    by_status: dict[int, list[type[BrokerError]]] = defaultdict(list)
    every: tuple[type[BrokerError], ...] = (*COMMON, *kinds)
    for kind in dict.fromkeys(every):
        by_status[status_of(kind)].append(kind)
    return {
        status: {
            "model": Problem,
            "description": "; ".join(dict.fromkeys(kind.title for kind in of_status)),
            "content": {MEDIA_TYPE: {"examples": {kind.code: _example(kind) for kind in of_status}}},
        }
        for status, of_status in sorted(by_status.items())
    }


def install(app: FastAPI) -> None:
    """Make every error that leaves a route a problem document."""
    app.add_exception_handler(BrokerError, _on_broker_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_exception)


def _example(kind: type[BrokerError]) -> dict[str, Any]:
    detail = _DETAILS.get(kind.code, kind.title + ".")
    return {"summary": kind.title, "value": document_of(kind(detail))}


_DETAILS = {
    "list-exists": (
        "There is a list registry.example.com/team/app:1.2.3 already: say amend to add to it, "
        "name a session, or remove it"
    ),
    "invalid-reference": "invalid reference format: repository name (Foo) must be lowercase",
    "source-not-found": "registry.example.com has no registry.example.com/team/app-s390x:1.2.3",
}


async def _on_broker_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, BrokerError):
        raise error
    return response_of(error, request.url.path)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return response_of(_malformed(error), request.url.path)
    found = [FieldError(_pointer(each["loc"]), each["msg"]) for each in error.errors()]
    detail = f"{found[0].pointer}: {found[0].detail}"
    if len(found) > 1:
        detail += f" (and {len(found) - 1} more)"
    kind = errors.InvalidHeader if found[0].pointer.startswith("header:") else errors.InvalidInput
    return response_of(kind(detail, errors=found), request.url.path)


def _malformed(error: RequestValidationError) -> errors.MalformedBody:
    first = error.errors()[0]
    reason = first.get("ctx", {}).get("error", first["msg"])
    position = first["loc"][-1]
    return errors.MalformedBody(f"The body can't be read as JSON: {reason} at character {position}")


_PLACES = {"query": "query", "header": "header", "path": "path", "cookie": "cookie"}


def _pointer(location: tuple[int | str, ...]) -> str:
    """Where it is wrong: a JSON pointer (RFC 6901) into the body, or which parameter."""
    place, *rest = location
    if place in _PLACES:
        return f"{_PLACES[str(place)]}:{'.'.join(str(part) for part in rest)}"
    # Pydantic names the alternative of a union that it tried; that is no member of the body.
    parts = [part for part in rest if isinstance(part, int) or not _is_alternative(part)]
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _is_alternative(part: str) -> bool:
    return part in {"str", "int", "bool"} or part[:1].isupper() or "[" in part


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses: unknown paths and methods, bodies over the limit."""
    if not isinstance(error, HTTPException):
        raise error
    kinds: dict[int, BrokerError] = {
        404: errors.NotFound(f"There is nothing at {request.url.path}; /openapi.json lists what there is"),
        413: errors.BodyTooLarge("The body is larger than this broker accepts"),
    }
    if error.status_code in kinds:
        return response_of(kinds[error.status_code], request.url.path)
    title = HTTPStatus(error.status_code).phrase
    document = {
        "type": "about:blank",
        "title": title,
        "status": error.status_code,
        "detail": f"{request.method} {request.url.path}: {title}",
        "instance": request.url.path,
    }
    return JSONResponse(document, error.status_code, dict(error.headers or {}), MEDIA_TYPE)


async def _on_exception(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return response_of(BrokerError("The broker failed; its log says why"), request.url.path)
