"""What the caller sent, and who is asking."""

from __future__ import annotations

from app.errors.base import BrokerError


class InvalidInput(BrokerError):
    """The caller sent something that can't be read; the problem names the field."""

    code = "invalid-input"
    title = "The request is not valid"


class InvalidReference(InvalidInput):
    code = "invalid-reference"
    title = "Not a valid image reference"


class InvalidDigest(InvalidInput):
    code = "invalid-digest"
    title = "Not a valid digest"


class InvalidPlatform(InvalidInput):
    code = "invalid-platform"
    title = "Not a valid platform"


class UnsupportedPlatform(InvalidInput):
    code = "unsupported-platform"
    title = "Unknown operating system and architecture"


class InvalidCursor(InvalidInput):
    code = "invalid-cursor"
    title = "Not a cursor of this listing"


class InvalidHeader(InvalidInput):
    code = "invalid-header"
    title = "A request header is not valid"


class CredentialUnreadable(InvalidHeader):
    """What X-Registry-Auth brought was sealed with another secret key than the worker has."""

    code = "credential-unreadable"
    title = "The credential sent with the request can't be read any more"


class InvalidReceiver(InvalidInput):
    code = "invalid-receiver"
    title = "Not an address that events can be sent to"


class InvalidSecret(InvalidInput):
    code = "invalid-secret"
    title = "Not a secret for signing"


class InvalidAnnotation(InvalidInput):
    code = "invalid-annotation"
    title = "Not a valid annotation"


class IdempotencyMismatch(InvalidInput):
    code = "idempotency-key-reused"
    title = "The Idempotency-Key was used for another request"


class MalformedBody(BrokerError):
    code = "malformed-body"
    title = "The body is not JSON"


class BodyTooLarge(BrokerError):
    code = "body-too-large"
    title = "The body is too large"


class UnsupportedBody(BrokerError):
    code = "unsupported-body"
    title = "The body's media type is not supported"


class Unauthenticated(BrokerError):
    code = "unauthenticated"
    title = "A valid bearer token is needed"


class Forbidden(BrokerError):
    code = "forbidden"
    title = "The token does not allow this"
