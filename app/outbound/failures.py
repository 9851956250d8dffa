"""The seam at which failures of the network become the broker's errors, and texts of others are made safe."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass

import aiohttp
import httpx2

from app import errors

__all__ = [
    "FAILURES",
    "RequestContext",
    "answered_in_plain_http",
    "scrub",
    "translate",
    "was_lost",
    "was_refused",
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


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What a request is about, for the text and the members of errors."""

    registry: str
    reference: str | None = None

    def __str__(self) -> str:
        return self.reference or self.registry

    @property
    def members(self) -> dict[str, errors.Json]:
        return {"registry": self.registry, "reference": self.reference}


def translate(error: Exception, context: RequestContext) -> errors.BrokerError:
    """The broker's error for what went wrong on the way to a registry."""
    cause = error.__cause__ if isinstance(error, httpx2.TransportError) else None
    failure = cause if isinstance(cause, Exception) else error
    if isinstance(failure, errors.BrokerError):
        return failure
    if isinstance(_tls_error(failure), ssl.SSLError) or isinstance(failure, aiohttp.ClientSSLError):
        return _tls_failure(failure, context)
    if isinstance(failure, TimeoutError | httpx2.TimeoutException):
        return errors.RegistryTimeout(
            f"{context.registry} did not answer in time while {context} was asked for", **context.members
        )
    if isinstance(failure, aiohttp.ClientConnectorDNSError):
        return errors.RegistryUnreachable(
            f"the name {context.registry} can't be resolved; check its spelling and the DNS",
            **context.members,
        )
    return _connection_failure(failure, context)


def _connection_failure(failure: Exception, context: RequestContext) -> errors.BrokerError:
    if isinstance(failure, aiohttp.ClientConnectorError):
        reason = failure.os_error.strerror or type(failure.os_error).__name__
        return errors.RegistryUnreachable(
            f"no connection to {context.registry}: {scrub(reason)}; check that the registry runs there",
            **context.members,
        )
    if isinstance(failure, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | OSError):
        return errors.RegistryUnreachable(
            f"the connection to {context.registry} was lost while {context} was asked for", **context.members
        )
    return errors.NotARegistry(f"{context.registry} does not answer in valid HTTP", **context.members)


def _tls_failure(failure: Exception, context: RequestContext) -> errors.RegistryTlsFailed:
    if answered_in_plain_http(failure):
        return errors.RegistryTlsFailed(
            f"{context.registry} answers in plain HTTP where TLS was expected; "
            "ask with insecure, once the operator allows that for it",
            **context.members,
        )
    if "CERTIFICATE_REQUIRED" in str(_tls_error(failure)):
        return errors.RegistryTlsFailed(
            f"{context.registry} asks for a client certificate; the operator must give the broker one for it",
            **context.members,
        )
    return errors.RegistryTlsFailed(
        f"TLS to {context.registry} failed ({_tls_reason(failure)}); give it a certificate that the broker "
        "trusts, or ask with insecure, once the operator allows that for it",
        **context.members,
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


def scrub(text: str) -> str:
    """Words of others made fit to show: short, on one line, without what could be a secret."""
    shown = _CONTROLS.sub(" ", text[: 4 * _LONGEST_MESSAGE])
    for pattern in _SECRETS:
        shown = pattern.sub("…", shown)
    return shown.strip() if len(shown) <= _LONGEST_MESSAGE else shown[:_LONGEST_MESSAGE].strip() + "…"
