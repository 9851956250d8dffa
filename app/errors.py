"""Every outcome a caller can act on: one class each, with a stable code and no word of HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

__all__ = ["TYPE_PREFIX", "BrokerError", "FieldError", "by_code", "error_classes", "revive"]

Json = Any
# Before a code, the stable `type` of a problem document (RFC 9457 §3.1.1).
TYPE_PREFIX = "urn:manifest-broker:problem:"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with what the caller sent.

    `pointer` is a JSON pointer into the body (RFC 6901); elsewhere `header:Name`, `query:name` or
    `path:name`.
    """

    pointer: str
    detail: str
    members: Mapping[str, Json] = field(default_factory=dict)

    def document(self) -> dict[str, Json]:
        return {"pointer": self.pointer, "detail": self.detail, **self.members}


class BrokerError(Exception):
    """Base of all: `detail` is for people, `code` for programs, `members` are the case's own facts.

    Members that callers may rely on are named in API.md: reference, registry, upstream_status, upstream_code,
    retry_after (seconds), list_id.
    """

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "The broker failed"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), **members: Json) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.members: dict[str, Json] = {name: value for name, value in members.items() if value is not None}

    @property
    def retry_after(self) -> float | None:
        """Seconds that the other side asked us to wait, if it did."""
        value = self.members.get("retry_after")
        return float(value) if value is not None else None

    def document(self) -> dict[str, Json]:
        """What is kept of the error when an operation ends with it; `revive` is the way back."""
        body: dict[str, Json] = {
            "code": self.code,
            "title": self.title,
            "detail": self.detail,
            **self.members,
        }
        if self.errors:
            body["errors"] = [error.document() for error in self.errors]
        return body


# --- what the caller sent ---


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


# --- who is asking ---


class Unauthenticated(BrokerError):
    code = "unauthenticated"
    title = "A valid bearer token is needed"


class Forbidden(BrokerError):
    code = "forbidden"
    title = "The token does not allow this"


# --- the broker's own state ---


class NotFound(BrokerError):
    code = "not-found"
    title = "There is no such thing"


class ListNotFound(NotFound):
    code = "list-not-found"
    title = "There is no such list"


class EntryNotFound(NotFound):
    code = "entry-not-found"
    title = "There is no such entry in the list"


class OperationNotFound(NotFound):
    code = "operation-not-found"
    title = "There is no such operation"


class PushNotFound(NotFound):
    code = "push-not-found"
    title = "There is no such push"


class WebhookNotFound(NotFound):
    code = "webhook-not-found"
    title = "There is no such webhook"


class DeliveryNotFound(NotFound):
    code = "delivery-not-found"
    title = "There is no such delivery"


class TokenNotFound(NotFound):
    code = "token-not-found"
    title = "There is no such token"


class ProjectNotFound(NotFound):
    code = "project-not-found"
    title = "There is no such project"


class Conflict(BrokerError):
    code = "conflict"
    title = "The request conflicts with what is there"


class ListExists(Conflict):
    code = "list-exists"
    title = "The list exists already"


class DuplicatePlatform(Conflict):
    code = "duplicate-platform"
    title = "Two entries would share a platform"


class ListNotPushable(Conflict):
    code = "list-not-pushable"
    title = "The list can't be pushed as it stands"


class ListFailed(Conflict):
    """What the list was to become is off, until an image or a change that puts it right comes in."""

    code = "list-failed"
    title = "The list has failed"


class ListIncomplete(ListFailed):
    """`missing_platforms` are those that nobody handed in by the deadline."""

    code = "list-incomplete"
    title = "The list was not complete by its deadline"


class BuildFailed(ListFailed):
    """`failures` has the reason for each platform whose build was reported to have failed."""

    code = "build-failed"
    title = "A build that the list waits for has failed"


class MixedRevisions(Conflict):
    """`revisions` has what each image was built from, by its reference."""

    code = "mixed-revisions"
    title = "The images were not built from one revision"


class Superseded(Conflict):
    """`push_id` is the newer run's push, `digest` what it put there."""

    code = "superseded"
    title = "Something newer has taken the place of this push"


class PlatformsLost(Conflict):
    """`platforms` are those that readers of the tag have now and would not have any more."""

    code = "platforms-lost"
    title = "The push would take platforms from the tag"


class PushNotRestorable(Conflict):
    code = "push-not-restorable"
    title = "Only a push that succeeded can be restored"


class WebhookDisabled(Conflict):
    code = "webhook-disabled"
    title = "The webhook is disabled"


class TooManyWebhooks(Conflict):
    code = "too-many-webhooks"
    title = "The project has as many webhooks as it may have"


class DeliveryPending(Conflict):
    code = "delivery-pending"
    title = "The delivery is under way already"


class NoSecretKey(Conflict):
    """The operator has to set BROKER_SECRET_KEY."""

    code = "no-secret-key"
    title = "The broker has no key under which it could keep a secret"


class NameTaken(Conflict):
    code = "name-taken"
    title = "The name is taken"


class OperationEnded(Conflict):
    code = "operation-ended"
    title = "The operation has ended"


class OperationCancelled(Conflict):
    code = "operation-cancelled"
    title = "The operation was cancelled"


class TagMoved(Conflict):
    code = "tag-moved"
    title = "The tag does not hold what the push expected"


class RevisionChanged(BrokerError):
    code = "revision-changed"
    title = "The list has changed since it was read"


class Unavailable(BrokerError):
    """The broker can't answer now; the same call may succeed later."""

    code = "unavailable"
    title = "The broker can't answer now"
    retryable = True


class DeadlineExceeded(Unavailable):
    """The operation's own deadline passed: at the next call the time starts anew."""

    code = "deadline-exceeded"
    title = "The operation did not end in its time"
    retryable = False


class AttemptsExhausted(BrokerError):
    code = "attempts-exhausted"
    title = "The operation was tried as often as it may be"


# --- what a registry did ---


class RegistryError(BrokerError):
    """Whatever a registry did; `retryable` says whether the same request may succeed later."""

    code = "registry-error"
    title = "The registry answered with an error"


class SourceNotFound(RegistryError):
    code = "source-not-found"
    title = "The registry does not have the image"


class RegistryDenied(RegistryError):
    code = "registry-denied"
    title = "The registry refused the credentials or the access"


class RateLimited(RegistryError):
    code = "rate-limited"
    title = "The registry limits the rate of requests"
    retryable = True


class RegistryUnavailable(RegistryError):
    """A 5xx that may pass."""

    code = "registry-unavailable"
    title = "The registry failed to answer properly"
    retryable = True


class RegistryUnreachable(RegistryError):
    """No answer at all: DNS, connection refused or lost."""

    code = "registry-unreachable"
    title = "The registry can't be reached"
    retryable = True


class RegistryTimeout(RegistryError):
    code = "registry-timeout"
    title = "The registry took too long"
    retryable = True


class RegistryTlsFailed(RegistryError):
    code = "registry-tls-failed"
    title = "The registry's TLS certificate is not trusted"


class NotARegistry(RegistryError):
    code = "not-a-registry"
    title = "What answers there does not speak the registry protocol"


class RegistryRejected(RegistryError):
    """The registry refused what was put: invalid manifest, unknown blob, immutable tag."""

    code = "registry-rejected"
    title = "The registry refused the content"


class TagImmutable(RegistryRejected):
    code = "tag-immutable"
    title = "The tag is immutable and holds something else"


class PushNotVerified(RegistryError):
    code = "push-not-verified"
    title = "The tag does not hold what was pushed"
    retryable = True


class RegistryForbidden(BrokerError):
    """The operator's settings don't let this registry or address be reached, or not that way."""

    code = "registry-forbidden"
    title = "The broker may not reach this registry"


class InsecureForbidden(RegistryForbidden):
    code = "insecure-forbidden"
    title = "The operator does not allow insecure access to this registry"


class UntrustedOrigin(RegistryForbidden):
    code = "untrusted-origin"
    title = "The registry sends credentials or content elsewhere"


class ReceiverForbidden(RegistryForbidden):
    code = "receiver-forbidden"
    title = "The broker may not send anything to this receiver"


# --- what a receiver of webhooks did ---


class DeliveryFailed(BrokerError):
    """It did not say 2xx; `receiver_status` is what it said, if anything."""

    code = "delivery-failed"
    title = "The receiver did not take the event"
    retryable = True


class ReceiverGone(DeliveryFailed):
    code = "receiver-gone"
    title = "The receiver wants no more events"
    retryable = False


# --- what was fetched ---


class SourceUnusable(BrokerError):
    """A source was fetched and can't be an entry; the members name its reference and media type."""

    code = "source-unusable"
    title = "The source can't be an entry of a list"


class SourceUnsupported(SourceUnusable):
    code = "source-unsupported"
    title = "The source's media type can't be an entry of a list"


class SourceInvalid(SourceUnusable):
    code = "source-invalid"
    title = "The source's content is not a valid image"


class SourceTooLarge(SourceUnusable):
    code = "source-too-large"
    title = "The source's manifest or config is too large"


class DigestMismatch(SourceUnusable):
    code = "digest-mismatch"
    title = "The bytes do not have the digest that was asked for"


class SourcesFailed(SourceUnusable):
    """Several sources failed, for different reasons; `errors` has each."""

    code = "sources-failed"
    title = "Some sources could not be used"


def error_classes() -> Iterator[type[BrokerError]]:
    """All classes of the tree, bases first."""
    pending: list[type[BrokerError]] = [BrokerError]
    while pending:
        current = pending.pop(0)
        yield current
        pending.extend(current.__subclasses__())


def by_code() -> dict[str, type[BrokerError]]:
    return {cls.code: cls for cls in error_classes()}


def revive(document: Mapping[str, Json]) -> BrokerError:
    """The error that `BrokerError.document` was taken from."""
    facts = dict(document)
    code = facts.pop("code", BrokerError.code)
    facts.pop("title", None)
    detail = str(facts.pop("detail", ""))
    errors = [
        FieldError(
            str(error.get("pointer", "")),
            str(error.get("detail", "")),
            {name: value for name, value in error.items() if name not in {"pointer", "detail"}},
        )
        for error in facts.pop("errors", ())
    ]
    return by_code().get(code, BrokerError)(detail, errors=errors, **facts)
