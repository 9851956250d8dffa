"""The problem responses that the OpenAPI document lists for each route, with an example of each error."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from app import errors
from app.api.problem_mapping import MEDIA_TYPE, document_of, status_of
from app.api.schemas.problems import Problem
from app.errors import BrokerError

# Every call under /v1 can fail with these.
COMMON_ERRORS = (
    errors.MalformedRequest,
    errors.Unauthenticated,
    errors.InvalidInput,
    errors.InvalidHeader,
    # Also for routes that take no body: a request may send one all the same.
    errors.BodyTooLarge,
    errors.UnsupportedBody,
    errors.TooManyRequests,
    errors.Unavailable,
    BrokerError,
)
BODY_ERRORS = (
    errors.MalformedBody,
    errors.InvalidReference,
)
# Every call that waits for a registry can fail with these.
REGISTRY_ERRORS = (
    errors.RegistryError,
    errors.SourceNotFound,
    errors.RegistryDenied,
    errors.RateLimited,
    errors.TooManyOperations,
    errors.RegistryUnavailable,
    errors.RegistryUnreachable,
    errors.RegistryTimeout,
    errors.RegistryTlsFailed,
    errors.NotARegistry,
    errors.RegistryForbidden,
    errors.InsecureForbidden,
    errors.UntrustedOrigin,
    errors.OperationCancelled,
    errors.RegistryRejected,
    errors.AttemptsExhausted,
    errors.DeadlineExceeded,
    errors.CredentialUnreadable,
)
SOURCE_ERRORS = (
    errors.InvalidReference,
    errors.InvalidPlatform,
    errors.UnsupportedPlatform,
    errors.InvalidAnnotation,
    errors.SourceUnsupported,
    errors.PlatformNotInSource,
    errors.SourceInvalid,
    errors.SourceTooLarge,
    errors.DigestMismatch,
    errors.SourcesFailed,
    errors.SourceUnusable,
)

_DETAILS = {
    "list-exists": (
        "The list registry.example.com/team/app:1.2.3 already exists. Set amend to add to it, "
        "name a session, or delete it."
    ),
    "invalid-reference": "invalid reference format: repository name (Foo) must be lowercase",
    "source-not-found": "registry.example.com does not have registry.example.com/team/app-s390x:1.2.3.",
}


def problem_responses(*kinds: type[BrokerError]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a route that can fail with these errors, with an example of each."""
    by_status: dict[int, list[type[BrokerError]]] = defaultdict(list)
    every: tuple[type[BrokerError], ...] = (*COMMON_ERRORS, *kinds)
    for kind in dict.fromkeys(every):
        by_status[status_of(kind)].append(kind)
    return {
        status: {
            "description": " ".join(dict.fromkeys(kind.title for kind in of_status)),
            "content": {
                MEDIA_TYPE: {
                    # FastAPI would document a response model under application/json.
                    "schema": {"$ref": f"#/components/schemas/{Problem.__name__}"},
                    "examples": {kind.code: _example(kind) for kind in of_status},
                }
            },
        }
        for status, of_status in sorted(by_status.items())
    }


def _example(kind: type[BrokerError]) -> dict[str, Any]:
    detail = _DETAILS.get(kind.code, kind.title)
    return {"summary": kind.title, "value": document_of(kind(detail))}
