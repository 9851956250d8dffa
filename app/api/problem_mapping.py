"""Maps each error to its HTTP status, problem document (RFC 9457) and response."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from app import errors
from app.api.addresses import address
from app.errors import TYPE_PREFIX, BrokerError

MEDIA_TYPE = "application/problem+json"

# The most derived class in this table decides.
_STATUS: Mapping[type[BrokerError], int] = {
    BrokerError: 500,
    errors.InvalidInput: 422,
    errors.MalformedRequest: 400,
    errors.MalformedBody: 400,
    errors.BodyTooLarge: 413,
    errors.UnsupportedBody: 415,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.QuotaExceeded: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.RevisionChanged: 412,
    errors.Unavailable: 503,
    errors.AttemptsExhausted: 503,
    errors.RegistryError: 502,
    errors.SourceNotFound: 404,
    errors.RegistryDenied: 403,
    errors.TooManyRequests: 429,
    errors.TooManyOperations: 429,
    errors.TooManyPushes: 429,
    errors.TooManyStreams: 429,
    errors.RateLimited: 429,
    errors.RegistryTimeout: 504,
    errors.RegistryRejected: 422,
    errors.TagImmutable: 409,
    errors.RegistryForbidden: 403,
    errors.SourceUnusable: 422,
    errors.DeliveryFailed: 502,
}


def status_of(kind: type[BrokerError]) -> int:
    return next(_STATUS[base] for base in kind.__mro__ if base in _STATUS)


def document_of(error: BrokerError, instance: str | None = None) -> dict[str, Any]:
    """The problem document (RFC 9457 §3) of an error."""
    facts = error.document()
    code = facts.pop("code")
    document = {"type": TYPE_PREFIX + code, "title": facts.pop("title"), "status": status_of(type(error))}
    if instance is not None:
        document["instance"] = instance
    return {**document, **facts}


def problem_of(stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The problem document of an error that is stored with an operation."""
    return document_of(errors.revive(stored)) if stored is not None else None


def response_of(error: BrokerError, path: str) -> JSONResponse:
    """The response to a request that failed; `path` is the request's own, or that of the failed operation."""
    headers = {}
    status = status_of(type(error))
    if error.retry_after is not None:
        # RFC 9110 §10.2.3 knows whole seconds only; rounding up never comes too early.
        headers["Retry-After"] = str(max(0, -int(-error.retry_after // 1)))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="manifest-broker"'
    return JSONResponse(document_of(error, address(path)), status, headers, MEDIA_TYPE)
