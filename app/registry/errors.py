"""The one seam at which the network's failures and registries' answers become the broker's errors."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
import httpx2

from app import errors
from app.registry import wording
from app.registry.retries import is_passing, parse_retry_after

__all__ = [
    "FAILURES",
    "Subject",
    "Upstream",
    "answered_in_plain_http",
    "is_html",
    "is_rate_limit",
    "parse_upstream",
    "refusal",
    "scrub",
    "tag_refusal",
    "translate",
    "unwrap",
    "was_lost",
    "was_refused",
    "write_refusal",
]

# What the libraries raise for trouble on the way; anything else is a fault of ours and stays what it is.
FAILURES = (aiohttp.ClientError, httpx2.TransportError, OSError)

_LONGEST_MESSAGE = 300
_SECRETS = (
    re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(
        r"(?i)[\"']?\b(authorization|access_?token|refresh_?token|token|password|secret|sig|signature|x-amz-[a-z-]+)"
        r"[\"']?\s*[=:]\s*[\"']?[^\s\"',&]+"
    ),
    re.compile(r"(?<=://)[^/\s@]+@"),
    re.compile(r"(?<=[A-Za-z0-9/])\?[^\s\"']+"),
    re.compile(r"\beyJ[A-Za-z0-9._-]{10,}"),
)
# C0, C1 and DEL, line separators, zero-width and bidirectional controls: what forges a line of a log. Halves
# of surrogate pairs: what no line can be written with.
_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+"
)
# What OpenSSL calls the first bytes of "HTTP/1.1 400 Bad Request" where it wants a TLS record.
_PLAIN_HTTP_REASONS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "HTTPS_PROXY_REQUEST",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
    }
)
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY = 401, 403, 404, 429
_UNMET, _TOO_LARGE = 412, 413
_CONFLICTS = frozenset({400, 403, 405, 409})


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request is about, for the text and the members of errors."""

    registry: str
    reference: str | None = None

    def __str__(self) -> str:
        return self.reference or self.registry

    @property
    def members(self) -> dict[str, errors.Json]:
        return {"registry": self.registry, "reference": self.reference}


@dataclass(frozen=True, slots=True)
class Upstream:
    """The first error that a registry's answer gives: the distribution spec's code, and words."""

    code: str | None = None
    message: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.code, self.message) if part)


def translate(error: Exception, subject: Subject) -> errors.BrokerError:
    """The broker's error for what went wrong on the way to a registry."""
    cause = error.__cause__ if isinstance(error, httpx2.TransportError) else None
    failure = cause if isinstance(cause, Exception) else error
    if isinstance(failure, errors.BrokerError):
        return failure
    if isinstance(_tls_error(failure), ssl.SSLError) or isinstance(failure, aiohttp.ClientSSLError):
        return _tls_failure(failure, subject)
    if isinstance(failure, TimeoutError | httpx2.TimeoutException):
        return errors.RegistryTimeout(
            f"{subject.registry} did not answer in time while {subject} was asked for", **subject.members
        )
    if isinstance(failure, aiohttp.ClientConnectorDNSError):
        return errors.RegistryUnreachable(
            f"the name {subject.registry} can't be resolved; check its spelling and the DNS",
            **subject.members,
        )
    return _connection_failure(failure, subject)


def _connection_failure(failure: Exception, subject: Subject) -> errors.BrokerError:
    if isinstance(failure, aiohttp.ClientConnectorError):
        reason = failure.os_error.strerror or type(failure.os_error).__name__
        return errors.RegistryUnreachable(
            f"no connection to {subject.registry}: {scrub(reason)}; check that the registry runs there",
            **subject.members,
        )
    if isinstance(failure, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | OSError):
        return errors.RegistryUnreachable(
            f"the connection to {subject.registry} was lost while {subject} was asked for", **subject.members
        )
    return errors.NotARegistry(f"{subject.registry} does not answer in valid HTTP", **subject.members)


def _tls_failure(failure: Exception, subject: Subject) -> errors.RegistryTlsFailed:
    if answered_in_plain_http(failure):
        return errors.RegistryTlsFailed(
            f"{subject.registry} answers in plain HTTP where TLS was expected; "
            "ask with insecure, once the operator allows that for it",
            **subject.members,
        )
    if "CERTIFICATE_REQUIRED" in str(_tls_error(failure)):
        return errors.RegistryTlsFailed(
            f"{subject.registry} asks for a client certificate; the operator must give the broker one for it",
            **subject.members,
        )
    return errors.RegistryTlsFailed(
        f"TLS to {subject.registry} failed ({_tls_reason(failure)}); give it a certificate that the broker "
        "trusts, or ask with insecure, once the operator allows that for it",
        **subject.members,
    )


def _tls_reason(failure: BaseException) -> str:
    inner = _tls_error(failure)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return scrub(inner.verify_message or "the certificate is not valid")
    reason = inner.reason if isinstance(inner, ssl.SSLError) else None
    return (reason or "the handshake failed").replace("_", " ").lower()


def _tls_error(failure: BaseException | None) -> BaseException | None:
    if isinstance(failure, aiohttp.ClientConnectorCertificateError):
        return failure.certificate_error
    if isinstance(failure, aiohttp.ClientConnectorError):
        return failure.os_error
    if isinstance(failure, aiohttp.ClientOSError) and isinstance(failure.__cause__, ssl.SSLError):
        return failure.__cause__
    return failure


def answered_in_plain_http(failure: BaseException | None) -> bool:
    """Whether a TLS handshake failed because what came back was HTTP."""
    while isinstance(failure, httpx2.TransportError | errors.BrokerError):
        failure = failure.__cause__
    inner = _tls_error(failure)
    return isinstance(inner, ssl.SSLError) and inner.reason in _PLAIN_HTTP_REASONS


def was_refused(failure: BaseException | None) -> bool:
    """Whether nothing listens at the port."""
    while isinstance(failure, httpx2.TransportError | errors.BrokerError):
        failure = failure.__cause__
    inner = failure.os_error if isinstance(failure, aiohttp.ClientConnectorError) else failure
    return isinstance(inner, ConnectionRefusedError)


def was_lost(failure: BaseException | None) -> bool:
    """Whether there was a connection, and it ended without an answer."""
    while isinstance(failure, httpx2.TransportError | errors.BrokerError):
        failure = failure.__cause__
    is_connected = not isinstance(failure, aiohttp.ClientConnectorError | TimeoutError)
    return is_connected and isinstance(failure, aiohttp.ClientConnectionError | OSError)


def parse_upstream(body: bytes) -> Upstream:
    """Distribution spec, "Error Codes"; anything else is taken as plain words."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Upstream(message="" if is_html(None, body) else scrub(body.decode(errors="replace")))
    listed = document.get("errors") if isinstance(document, dict) else None
    first = listed[0] if isinstance(listed, list) and listed else document
    if not isinstance(first, dict):
        return Upstream()
    code = first.get("code")
    message = first.get("message") or first.get("details") or first.get("error_description") or ""
    return Upstream(
        code=scrub(code) or None if isinstance(code, str) else None,
        message=scrub(message) if isinstance(message, str) else "",
    )


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, subject: Subject, *, doing: str
) -> errors.BrokerError:
    """The broker's error for an answer that is not the one asked for; `doing` says what was."""
    upstream = parse_upstream(body)
    members: dict[str, errors.Json] = {
        **subject.members,
        "upstream_status": status,
        "upstream_code": upstream.code,
    }
    said = f"{subject.registry} answered {status}" + (f" ({upstream})" if str(upstream) else "")
    if status == _TOO_MANY or is_rate_limit(status, body, subject):
        wait = parse_retry_after(headers.get("Retry-After"), body[:4096].decode(errors="replace"))
        return errors.RateLimited(
            f"{said} to {doing}; it limits the rate of requests, so try later or with credentials",
            **members,
            retry_after=wait,
        )
    return _refusal_by_status(status, headers, body, f"{said} to {doing}", members)


def write_refusal(
    status: int, headers: Mapping[str, str], body: bytes, subject: Subject, *, doing: str
) -> errors.BrokerError:
    """The same for what was sent: where nothing was looked for, 404 does not mean that it is missing."""
    error = refusal(status, headers, body, subject, doing=doing)
    if isinstance(error, errors.SourceNotFound):
        return errors.RegistryRejected(error.detail, **error.members)
    return error


def _refusal_by_status(
    status: int, headers: Mapping[str, str], body: bytes, said: str, members: dict[str, errors.Json]
) -> errors.BrokerError:
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return errors.RegistryDenied(
            f"{said}; check the credentials and their rights, and that the repository exists", **members
        )
    if is_passing(status):
        return errors.RegistryUnavailable(
            f"{said}; the registry has trouble, try later", **members, retry_after=_wait(headers)
        )
    if status == _TOO_LARGE:
        return errors.RegistryRejected(
            f"{said}; it, or a proxy before it, takes no body of that size", **members
        )
    if is_html(headers.get("Content-Type"), body) or status < 400:  # noqa: PLR2004 - success or redirect
        return errors.NotARegistry(f"{said}, which is not what a registry says; check the host", **members)
    if status == _NOT_FOUND:
        return errors.SourceNotFound(f"{said}; check the name, the tag and the registry", **members)
    return errors.RegistryRejected(said, **members)


def _wait(headers: Mapping[str, str]) -> float | None:
    return parse_retry_after(headers.get("Retry-After"))


def is_rate_limit(status: int, body: bytes, subject: Subject) -> bool:
    """GitHub's secondary limits and some proxies answer 403 where 429 is meant."""
    return status == _FORBIDDEN and wording.means_rate_limit(_said(body), subject.reference)


def tag_refusal(
    status: int, headers: Mapping[str, str], body: bytes, subject: Subject, *, doing: str
) -> errors.BrokerError:
    """The same for a PUT under a tag, which a rule may keep where it is."""
    error = write_refusal(status, headers, body, subject, doing=doing)
    is_rule = status in _CONFLICTS and wording.means_immutable(_said(body), subject.reference)
    # No condition was sent that a 412 could speak of.
    if status == _UNMET or is_rule:
        return errors.TagImmutable(f"{subject} may not be moved: {error.detail}", **error.members)
    return error


def _said(body: bytes) -> str:
    """The first error, or whatever else was said."""
    upstream = parse_upstream(body)
    return str(upstream) or body[:4096].decode(errors="replace")


def is_html(content_type: str | None, body: bytes = b"") -> bool:
    """Web pages start with a tag, whatever they call themselves."""
    if content_type is not None and "html" in content_type.lower():
        return True
    return body[:64].lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<body"))


def scrub(text: str) -> str:
    """Words of others made fit to show: short, on one line, without what could be a secret."""
    shown = _CONTROLS.sub(" ", text[: 4 * _LONGEST_MESSAGE])
    for pattern in _SECRETS:
        shown = pattern.sub("…", shown)
    return shown.strip() if len(shown) <= _LONGEST_MESSAGE else shown[:_LONGEST_MESSAGE].strip() + "…"


def unwrap(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to report of several that ended side by side: one that no retry helps, if there is one."""
    leaves = list(_leaves(group))
    ours = [leaf for leaf in leaves if isinstance(leaf, errors.BrokerError)]
    others = [leaf for leaf in leaves if not isinstance(leaf, errors.BrokerError | asyncio.CancelledError)]
    if others:
        return others[0]
    return next((error for error in ours if not error.retryable), ours[0] if ours else leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for inner in group.exceptions:
        found.extend(_leaves(inner) if isinstance(inner, BaseExceptionGroup) else [inner])
    return found
