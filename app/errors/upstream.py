"""What a registry did, or a receiver of webhooks, and what was fetched."""

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
    """Whatever a registry did; `retryable` says whether the same request may succeed later."""

    code = "registry-error"
    title = "The registry answered with an error"

    @property
    def upstream_code(self) -> str | None:
        """The error code of the answer (distribution spec, "Error Codes")."""
        code = self.members.get("upstream_code")
        return code if isinstance(code, str) else None


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
    title = "No trusted TLS connection to the registry could be made"


class NotARegistry(RegistryError):
    code = "not-a-registry"
    title = "What answers there does not speak the registry protocol"


class RegistryRejected(RegistryError):
    """The registry refused what was put: invalid manifest, unknown blob, immutable tag."""

    code = "registry-rejected"
    title = "The registry refused the content"

    @property
    def missing_digests(self) -> tuple[str, ...]:
        """The digests that the registry says it lacks; empty when it names none."""
        return tuple(map(str, self.members.get("missing", ())))


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


class DeliveryFailed(UpstreamStatus, BrokerError):
    """It did not say 2xx; `receiver_status` is what it said, if anything."""

    code = "delivery-failed"
    title = "The receiver did not take the event"
    retryable = True


class ReceiverGone(DeliveryFailed):
    code = "receiver-gone"
    title = "The receiver wants no more events"
    retryable = False


class SourceUnusable(BrokerError):
    """A source was fetched and can't be an entry; the members name its reference and media type."""

    code = "source-unusable"
    title = "The source can't be an entry of a list"


class SourceUnsupported(SourceUnusable):
    code = "source-unsupported"
    title = "The source's media type can't be an entry of a list"


class PlatformNotInSource(SourceUnsupported):
    """What `platforms` selects is not there."""

    code = "platform-not-in-source"
    title = "The source has no image for the platform"


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
