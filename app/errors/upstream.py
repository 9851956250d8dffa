"""Errors of a registry, of a webhook receiver, and in fetched content."""

from __future__ import annotations

from app.errors.base import BrokerError, Json


class UpstreamStatus:
    """The fact that a registry's and a receiver's errors share."""

    members: dict[str, Json]

    @property
    def upstream_status(self) -> int | None:
        """The HTTP status of the answer, if one came."""
        status = self.members.get("upstream_status")
        return status if isinstance(status, int) else None


class RegistryError(UpstreamStatus, BrokerError):
    """A registry failed the request; `retryable` says whether the same request may succeed later."""

    code = "registry-error"
    title = "The registry answered with an error."

    @property
    def upstream_code(self) -> str | None:
        """The error code of the answer (distribution spec, "Error Codes")."""
        code = self.members.get("upstream_code")
        return code if isinstance(code, str) else None


class SourceNotFound(RegistryError):
    code = "source-not-found"
    title = "The registry does not have the image."


class RegistryDenied(RegistryError):
    code = "registry-denied"
    title = "The registry denied access."


class RateLimited(RegistryError):
    code = "rate-limited"
    title = "The registry limits the rate of requests."
    retryable = True


class RegistryUnavailable(RegistryError):
    """The registry answered with a transient 5xx status."""

    code = "registry-unavailable"
    title = "The registry is temporarily unavailable."
    retryable = True


class RegistryUnreachable(RegistryError):
    """The registry did not answer: DNS failed, or the connection was refused or lost."""

    code = "registry-unreachable"
    title = "The registry can't be reached."
    retryable = True


class RegistryTimeout(RegistryError):
    code = "registry-timeout"
    title = "The registry did not answer in time."
    retryable = True


class RegistryTlsFailed(RegistryError):
    code = "registry-tls-failed"
    title = "The TLS connection to the registry is not trusted."


class NotARegistry(RegistryError):
    code = "not-a-registry"
    title = "The server does not speak the registry protocol."


class RegistryRejected(RegistryError):
    """The registry rejected the content of a put: invalid manifest, unknown blob, immutable tag."""

    code = "registry-rejected"
    title = "The registry rejected the content."

    @property
    def missing_digests(self) -> tuple[str, ...]:
        """The digests that the registry says it lacks; empty when it names none."""
        return tuple(map(str, self.members.get("missing", ())))


class TagImmutable(RegistryRejected):
    code = "tag-immutable"
    title = "The tag is immutable and holds a different digest."


class PushNotVerified(RegistryError):
    code = "push-not-verified"
    title = "The tag does not hold the digest that was pushed."
    retryable = True


class RegistryForbidden(BrokerError):
    """The operator's settings forbid this registry, this address, or this way to reach it."""

    code = "registry-forbidden"
    title = "The broker is not permitted to reach this registry."


class InsecureForbidden(RegistryForbidden):
    code = "insecure-forbidden"
    title = "The operator does not permit insecure access to this registry."


class UntrustedOrigin(RegistryForbidden):
    code = "untrusted-origin"
    title = "The registry points to an origin that is not trusted."


class ReceiverForbidden(RegistryForbidden):
    code = "receiver-forbidden"
    title = "The broker is not permitted to send events to this receiver."


class DeliveryFailed(UpstreamStatus, BrokerError):
    """The receiver did not answer with 2xx; `receiver_status` is its status, if it answered."""

    code = "delivery-failed"
    title = "The receiver did not accept the event."
    retryable = True


class ReceiverGone(DeliveryFailed):
    code = "receiver-gone"
    title = "The receiver wants no more events."
    retryable = False


class SourceUnusable(BrokerError):
    """A source was fetched but can't be an entry; the members name its reference and media type."""

    code = "source-unusable"
    title = "The source can't be an entry of a list."


class SourceUnsupported(SourceUnusable):
    code = "source-unsupported"
    title = "The media type of the source can't be an entry of a list."


class PlatformNotInSource(SourceUnsupported):
    """The source has no image for a platform that `platforms` selects."""

    code = "platform-not-in-source"
    title = "The source has no image for the platform."


class SourceInvalid(SourceUnusable):
    code = "source-invalid"
    title = "The content of the source is not a valid image."


class SourceTooLarge(SourceUnusable):
    code = "source-too-large"
    title = "The manifest or config of the source is too large."


class DigestMismatch(SourceUnusable):
    code = "digest-mismatch"
    title = "The content does not match its digest."


class SourcesFailed(SourceUnusable):
    """Several sources failed for different reasons; `errors` lists each."""

    code = "sources-failed"
    title = "Several sources can't be used."
