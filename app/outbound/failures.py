"""The seam at which failures of the network become the broker's errors, and texts of others are made safe."""

from __future__ import annotations

import logging
import socket
import ssl
from dataclasses import dataclass, field
from typing import TypeVar

import httpx2

from app import errors
from app.outbound.quoting import PLAIN, Quoting, scrub
from app.outbound.transport import IncompleteBody

__all__ = [
    "FAILURES",
    "RequestContext",
    "answered_in_plain_http",
    "concealed",
    "translate",
    "was_lost",
    "was_refused",
]

_log = logging.getLogger(__name__)

# The exceptions of a transport for failures on the way; any other exception is a fault of the broker.
FAILURES = (httpx2.TransportError, httpx2.InvalidURL, OSError)

_UNREACHED = (errors.RegistryUnreachable, errors.RegistryTimeout, errors.RegistryForbidden)

_Failure = TypeVar("_Failure", bound=BaseException)
_Error = TypeVar("_Error", bound=errors.BrokerError)

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
    quoting: Quoting = field(default=PLAIN, repr=False, compare=False)
    """The rules for quoting the response in errors."""

    def __str__(self) -> str:
        return self.reference or self.registry

    @property
    def members(self) -> dict[str, errors.Json]:
        return {"registry": self.registry, "reference": self.reference}

    def cleaned(self, error: _Error) -> _Error:
        """An error about content, without its quotation if that repeats a secret."""
        stated = [error.detail, *(value for value in error.members.values() if isinstance(value, str))]
        if all(self.quoting.holds_no_secret(text) for text in stated):
            return error
        return type(error)("The registry repeats a secret in the content, which is not shown.")


def translate(error: Exception, context: RequestContext) -> errors.BrokerError:
    """The broker's error for a failure on the way to a host."""
    ours = error.__cause__ if isinstance(error, httpx2.TransportError) else error
    if isinstance(ours, errors.BrokerError):
        return ours
    if _tls_error(error) is not None:
        return _tls_failure(error, context)
    if isinstance(error, httpx2.ConnectError):
        return _connection_failure(error, context)
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return errors.RegistryTimeout(
            f"{context.registry} did not answer the request for {context} in time.", **context.members
        )
    if isinstance(error, httpx2.NetworkError | OSError):
        return errors.RegistryUnreachable(
            f"The connection to {context.registry} was lost during the request for {context}.",
            **context.members,
        )
    return errors.NotARegistry(f"{context.registry} does not answer in valid HTTP.", **context.members)


def concealed(error: errors.BrokerError, context: RequestContext) -> errors.BrokerError:
    """Replace every reason for an unreachable host by one error.

    The reasons and the addresses in them describe the broker's network (threat T1), so only the log contains
    them. A forbidden address is retried like any other host that does not respond.
    """
    if not isinstance(error, _UNREACHED):
        return error
    _log.info("%s can't be reached: %s", context.registry, context.quoting.for_log(error.detail))
    shown = errors.RegistryUnreachable(
        f"{context.registry} can't be reached, or this broker may not connect to it. Check its name and "
        "its port. The broker's log has the reason.",
        **context.members,
    )
    return error.shown_as(shown) if isinstance(error, errors.RegistryTimeout) else shown


def _connection_failure(error: httpx2.ConnectError, context: RequestContext) -> errors.RegistryUnreachable:
    if _find(error, socket.gaierror) is not None:
        return errors.RegistryUnreachable(
            f"The name {context.registry} can't be resolved. Check its spelling and the DNS.",
            **context.members,
        )
    cause = _find(error, OSError)
    reason = (cause.strerror or type(cause).__name__) if cause is not None else str(error)
    return errors.RegistryUnreachable(
        f"The connection to {context.registry} failed: {scrub(reason)}. Check that the registry runs there.",
        **context.members,
    )


def _tls_failure(error: Exception, context: RequestContext) -> errors.RegistryTlsFailed:
    if answered_in_plain_http(error):
        return errors.RegistryTlsFailed(
            f"{context.registry} answers in plain HTTP where TLS is expected. "
            "Use insecure, if the operator allows it for this registry.",
            **context.members,
        )
    if "CERTIFICATE_REQUIRED" in str(_tls_error(error)):
        return errors.RegistryTlsFailed(
            f"{context.registry} requires a client certificate. The operator must configure one for it.",
            **context.members,
        )
    return errors.RegistryTlsFailed(
        f"TLS with {context.registry} failed ({_tls_reason(error)}). Give it a certificate that the broker "
        "trusts, or use insecure, if the operator allows it for this registry.",
        **context.members,
    )


def _tls_reason(error: Exception) -> str:
    failure = _tls_error(error)
    if isinstance(failure, ssl.SSLCertVerificationError):
        return scrub(failure.verify_message or "the certificate is not valid")
    return (
        ((failure.reason if failure is not None else None) or "the handshake failed")
        .replace("_", " ")
        .lower()
    )


def answered_in_plain_http(failure: BaseException | None) -> bool:
    """Whether a TLS handshake failed because the peer answered in HTTP."""
    error = _tls_error(failure)
    return error is not None and error.reason in _PLAIN_HTTP_REASONS


def was_refused(failure: BaseException | None) -> bool:
    """Whether nothing listens at the port."""
    return _find(_network_error(failure), ConnectionRefusedError) is not None


def was_lost(failure: BaseException | None) -> bool:
    """Whether a connection was made and ended without a response."""
    error = _network_error(failure)
    if isinstance(error, httpx2.ConnectError | IncompleteBody | TimeoutError):
        return False
    return isinstance(error, httpx2.NetworkError | OSError)


def _tls_error(failure: BaseException | None) -> ssl.SSLError | None:
    error = _network_error(failure)
    # Within a connection that was made, a failure of TLS is a lost connection.
    return _find(error, ssl.SSLError) if isinstance(error, httpx2.ConnectError | ssl.SSLError) else None


def _network_error(failure: BaseException | None) -> BaseException | None:
    """The failure of the network behind the broker's errors."""
    while isinstance(failure, errors.BrokerError):
        failure = failure.__cause__
    return failure


def _find(failure: BaseException | None, kind: type[_Failure]) -> _Failure | None:
    """The first failure of a kind in the chain of causes."""
    while failure is not None and not isinstance(failure, kind):
        failure = failure.__cause__
    return failure
