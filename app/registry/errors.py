"""Turns the refusals of registries into the broker's errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from app import errors
from app.outbound.failures import RequestContext
from app.outbound.retry import parse_retry_after
from app.registry.error_bodies import (
    first_error_text,
    is_final,
    is_html,
    is_rate_limit,
    may_pass,
    means_full,
    means_immutable,
    parse_upstream,
)

__all__ = ["refusal", "tag_refusal", "write_refusal"]

_log = logging.getLogger(__name__)

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_UNMET, _TOO_LARGE = 412, 413
_CONFLICTS = frozenset({400, 403, 405, 409})


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, context: RequestContext, *, doing: str
) -> errors.BrokerError:
    """The error for an unexpected answer; `doing` names the request."""
    upstream = parse_upstream(body, context.quoting)
    members: dict[str, errors.Json] = {
        **context.members,
        "upstream_status": status,
        "upstream_code": upstream.code,
    }
    if context.quoting.suppresses_quotation and body:
        words = context.quoting.for_log(body.decode(errors="replace"))
        _log.info("%s answered %d to %s: %s", context.registry, status, doing, words)
    said = f"{context.registry} answered {status}" + (f" ({upstream})" if str(upstream) else "")
    if is_rate_limit(status, body, context):
        wait = parse_retry_after(headers.get("Retry-After"), body[:4096].decode(errors="replace"))
        return errors.RateLimited(
            f"{said} to {doing}. It limits the rate of requests; try later, or with credentials.",
            **members,
            retry_after=wait,
        )
    if is_final(status, body, context):
        return errors.RegistryRejected(
            f"{said} to {doing}. It will not take this until that changes.", **members
        )
    if may_pass(status, body, context):
        return errors.RegistryUnavailable(
            f"{said} to {doing}. The registry has a problem; try later.",
            **members,
            retry_after=_wait(headers),
        )
    return _refusal_by_status(status, headers, body, f"{said} to {doing}", members)


def write_refusal(
    status: int, headers: Mapping[str, str], body: bytes, context: RequestContext, *, doing: str
) -> errors.BrokerError:
    """The error for a refused write: 404 does not mean that the content is missing."""
    error = refusal(status, headers, body, context, doing=doing)
    if isinstance(error, errors.SourceNotFound):
        return error.recast(errors.RegistryRejected)
    return error


def _refusal_by_status(
    status: int, headers: Mapping[str, str], body: bytes, said: str, members: dict[str, errors.Json]
) -> errors.BrokerError:
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return errors.RegistryDenied(
            f"{said}. Check the credentials and their rights, and that the repository exists.", **members
        )
    if status == _TOO_LARGE:
        return errors.RegistryRejected(
            f"{said}. The registry, or a proxy before it, accepts no body of that size.", **members
        )
    if is_html(headers.get("Content-Type"), body) or status < 400:  # noqa: PLR2004 - success or redirect
        return errors.NotARegistry(
            f"{said}, which is not the answer of a registry. Check the host.", **members
        )
    if status == _NOT_FOUND:
        return errors.SourceNotFound(f"{said}. Check the name, the tag and the registry.", **members)
    return errors.RegistryRejected(f"{said}.", **members)


def _wait(headers: Mapping[str, str]) -> float | None:
    return parse_retry_after(headers.get("Retry-After"))


def tag_refusal(
    status: int, headers: Mapping[str, str], body: bytes, context: RequestContext, *, doing: str
) -> errors.BrokerError:
    """The error for a refused PUT under a tag, which may be immutable."""
    error = write_refusal(status, headers, body, context, doing=doing)
    is_rule = status in _CONFLICTS and means_immutable(first_error_text(body), context.reference)
    is_full = means_full(first_error_text(body), context.reference)
    # No condition was sent that a 412 could speak of.
    if is_rule or (status == _UNMET and not is_full and not error.retryable):
        return error.recast(errors.TagImmutable, f"{context} can't be moved: {error.detail}")
    return error
