"""Errors in the request and in its authentication."""

from __future__ import annotations

from app.errors.base import BrokerError


class InvalidInput(BrokerError):
    """A value in the request is not valid; the problem names the field."""

    code = "invalid-input"
    title = "The request is not valid."


class InvalidReference(InvalidInput):
    code = "invalid-reference"
    title = "The image reference is not valid."


class InvalidDigest(InvalidInput):
    code = "invalid-digest"
    title = "The digest is not valid."


class InvalidPlatform(InvalidInput):
    code = "invalid-platform"
    title = "The platform is not valid."


class UnsupportedPlatform(InvalidInput):
    code = "unsupported-platform"
    title = "The operating system and architecture are not a known pair."


class InvalidCursor(InvalidInput):
    code = "invalid-cursor"
    title = "The cursor does not belong to this listing."


class InvalidHeader(InvalidInput):
    code = "invalid-header"
    title = "A request header is not valid."


class CredentialUnreadable(InvalidHeader):
    """The X-Registry-Auth credential was encrypted under a secret key that the worker does not have."""

    code = "credential-unreadable"
    title = "The credential sent with the request can no longer be decrypted."


class InvalidReceiver(InvalidInput):
    code = "invalid-receiver"
    title = "The webhook URL is not valid."


class InvalidSecret(InvalidInput):
    code = "invalid-secret"
    title = "The signing secret is not valid."


class InvalidAnnotation(InvalidInput):
    code = "invalid-annotation"
    title = "The annotation is not valid."


class IdempotencyMismatch(InvalidInput):
    code = "idempotency-key-reused"
    title = "The Idempotency-Key was used for a different request."


class MalformedRequest(BrokerError):
    """The headers are ambiguous about the host or the client, so none of them is trusted."""

    code = "malformed-request"
    title = "The headers of the request are ambiguous or incomplete."


class MalformedBody(BrokerError):
    code = "malformed-body"
    title = "The body is not valid JSON."


class BodyTooLarge(BrokerError):
    code = "body-too-large"
    title = "The body is too large."


class UnsupportedBody(BrokerError):
    code = "unsupported-body"
    title = "The media type of the body is not supported."


class Unauthenticated(BrokerError):
    code = "unauthenticated"
    title = "The request needs a valid bearer token."


class Forbidden(BrokerError):
    code = "forbidden"
    title = "The token does not permit this request."


class QuotaExceeded(BrokerError):
    """Not a 429: waiting does not help, so clients must not retry automatically."""

    code = "quota-exceeded"
    title = "The project has reached one of its quotas."
